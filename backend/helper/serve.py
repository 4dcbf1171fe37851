"""One caller of the helper: from a socket that systemd accepted, or from sudo, until it is gone.

First everything is opened that root is needed for, then root's rights are given up, then the first byte of the caller
is read."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from backend import helper
from backend.agent import frames
from backend.agent.operations import Operations
from backend.agent.serve import Server
from backend.errors import NotFound, NotPermitted, NumatuiError, UsageError
from backend.files.walk import check_trusted, opened_parent
from backend.helper import open_files
from backend.helper.caller import Caller, of_socket, of_sudo
from backend.helper.guard import MOST_PAGES, Guard
from backend.helper.rights import keep_only, needed
from backend.helper.rules import CONFIGURATION, Rules, load_rules
from backend.state import jobs_dir
from backend.state_files import Held

OPERATIONS = frozenset({"read", "read_entries", "read_resting", "file_id", "move_pages", "state_lock", "state_unlock"})
"""All that a helper does."""
MOST_PAYLOAD = 17 * MOST_PAGES
"""Bytes of a request: 16 for each page, and some."""
_MOST_WAITING = 4 * MOST_PAYLOAD


class _Locks:
    """As the state directory, of which a helper has locks on processes only."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def lock_folder(self) -> Path:
        return open_files.LOCKS

    def lock_processes(self, _: Path, pids: list[int]) -> _Held:
        return _Held(self._guard, self._guard.lock(pids))

    def lock_name(self, _: Path, name: str) -> _Held:
        raise NotPermitted("the helper locks processes only")


class _Held:
    def __init__(self, guard: Guard, pids: list[int]) -> None:
        self._guard, self._pids = guard, pids

    def close(self) -> None:
        self._guard.unlock(self._pids)


class HelperOperations(Operations):
    """Those of an agent that a helper does as well."""

    def __init__(self, guard: Guard, rules: Rules) -> None:
        host: Any = guard
        files: Any = _Locks(guard)
        super().__init__(host, files)
        self._rules = rules

    def hello(self) -> dict[str, Any]:
        return {
            "helper": True,
            "rights": [one.text for one in self._rules.rules],
            "can": {
                "frames": self._rules.any(lambda rule: rule.frames),
                "shared": self._rules.any(lambda rule: rule.shared),
            },
        }

    def find(self, name: str) -> Callable[[list[Any], bytes], Any] | None:
        return super().find(name) if name in OPERATIONS else None


def serve(configuration: Path = CONFIGURATION) -> None:
    """Ends the program. Raises NumatuiError before it has begun: then the caller gets that as its only answer."""
    write: Callable[[bytes], None]
    stdin: IO[bytes]
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        if "SUDO_UID" in os.environ:  # then whoever called sudo has chosen what is at the other end
            raise OSError
        one = socket.socket(fileno=os.dup(0))
    except OSError:
        stdin = sys.stdin.buffer

        def to_stdout(data: bytes) -> None:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(out, rest) :]

        write, who = to_stdout, of_sudo
    else:
        stdin, write, who = one.makefile("rb"), one.sendall, lambda: of_socket(one)
    try:
        caller = who()
        guard, rules, _slot = _prepare(caller, configuration)
    except (NumatuiError, OSError) as exc:
        what, fix = (exc.what, exc.fix) if isinstance(exc, NumatuiError) else (str(exc), "")
        if isinstance(exc, (UsageError, NotFound)):  # of the configuration, which is not for everybody
            what, fix = "its configuration cannot be read", "journalctl -t numatui-helper, as root, has the reason"
        write(frames.encode({frames.MAGIC: frames.VERSION, "refused": [what, fix]}))
        raise
    server = Server(HelperOperations(guard, rules), stdin, write)
    server.most, server.most_waiting, server.at_end = MOST_PAYLOAD, _MOST_WAITING, guard.end
    try:
        server.run()
    finally:
        guard.end()
        os._exit(0)  # a thread that hangs would hold the end up


def _prepare(caller: Caller, configuration: Path) -> tuple[Guard, Rules, Held]:
    """Everything that root is needed for; then there is no root any longer. Raises NumatuiError, OSError."""
    if os.geteuid() != 0:
        raise NotPermitted("the helper was not started as root", "systemd starts it: see docs/helper.md")
    _check_code()
    rules = load_rules(configuration).of(caller.uid, caller.gids)
    if not rules.rules:
        raise NotPermitted(f"no rule of the helper is about {caller.name}", f"root can add one to {configuration}")
    slot = open_files.take_slot(caller.uid)
    who = {"uid": caller.uid, "user": caller.name}
    audit = open_files.AuditLog(jobs_dir.jobs_dir().parent, who)
    locks, budget = open_files.PidLocks(), open_files.Budget(caller.uid)
    keep_only(needed(rules.any(lambda rule: rule.frames), rules.any(lambda rule: rule.shared)))
    guard = Guard(caller, rules, locks, audit, budget)
    return guard, rules, slot


def _check_code() -> None:
    """Raises Untrusted if somebody else than root could change this program."""
    package = Path(helper.__file__).parent.parent
    with opened_parent(package / "__init__.py", trusted=True) as (parent, _):
        check_trusted(os.fstat(parent), str(package), {0})
