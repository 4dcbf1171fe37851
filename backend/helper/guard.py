"""What the helper does for one caller: each request is checked against the rules, on the process that is meant, before
and after it."""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from backend.agent.helped_files import OF_A_PROCESS, OF_FRAMES, PROGRAM
from backend.errors import NotPermitted, NumatuiError, os_error
from backend.files.text import decode, printable
from backend.helper.caller import Caller
from backend.helper.open_files import AuditLog, Budget, PidLocks
from backend.helper.rules import Rule, Rules
from backend.helper.subject import Facts, Subject
from backend.kernel import Numbers
from backend.live import syscalls
from backend.live.host import read_file
from backend.patience import Patience

T = TypeVar("T")
MOVE, MOVE_ALL = 2, 4
"""MPOL_MF_MOVE, MPOL_MF_MOVE_ALL (include/uapi/linux/mempolicy.h)."""
MOST_READ = 16 << 20
"""Bytes of one answer."""
MOST_PAGES = 1 << 18
"""Pages of one call."""
MOST_LOCKS = 900
_LARGE = 2 << 20
"""Bytes that a page may have: what is not known is counted as the most."""
_PATIENCE = 10.0
"""Seconds."""
_LONGEST_REST = 300.0
"""Seconds. What would have to wait longer is refused."""


@dataclass(slots=True)
class _Held:
    """A process that this caller has locked, as it was then. `counts`: what was done with it. `uses`: calls that are
    under way; the last one ends what was `given_back` meanwhile."""

    subject: Subject
    facts: Facts
    command: str
    announced: bool = False
    uses: int = 0
    given_back: bool = False
    counts: Counter[str] = field(default_factory=Counter[str])
    arrived: Counter[int] = field(default_factory=Counter[int])

    @property
    def who(self) -> dict[str, int | str]:
        """For the audit log. `owner`: -1 if it is not one user's alone."""
        return {
            "pid": self.subject.pid, "start_time": self.facts.start_time, "owner": self.facts.uid,
            "command": self.command,
        }  # fmt: skip


class Guard:
    """Has what `backend.agent.operations` asks of a host, as far as a helper does it. Thread-safe."""

    def __init__(self, caller: Caller, rules: Rules, locks: PidLocks, audit: AuditLog, budget: Budget) -> None:
        self._caller, self._rules = caller, rules
        self._locks, self._audit, self._budget = locks, audit, budget
        self._patience = Patience(_PATIENCE)
        self._held: dict[int, _Held] = {}
        self._lock = threading.Lock()

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Raises OSError: EACCES for what is not allowed."""
        size = min(size, MOST_READ)
        if path in OF_FRAMES:
            if not self._rules.any(lambda rule: rule.frames):
                raise os_error(errno.EACCES, path)
            return read_file(path, offset, size if size >= 0 else 0, MOST_READ)
        found = OF_A_PROCESS.match(path)
        if found is None:
            raise os_error(errno.EACCES, path)
        name = found[2]
        return self._of_process(
            int(found[1]),
            lambda rule: rule.frames or name != "pagemap",
            lambda subject: subject.read(name, offset, size, MOST_READ),
        )

    def listdir(self, path: str) -> list[str]:
        """What can be listed, everybody may list."""
        raise os_error(errno.EACCES, path)

    def file_id(self, path: str) -> tuple[int, int]:
        found = PROGRAM.match(path)
        if found is None:
            raise os_error(errno.EACCES, path)
        return self._of_process(int(found[1]), _always, Subject.program)

    def _of_process(self, pid: int, allows: Callable[[Rule], bool], ask: Callable[[Subject], T]) -> T:
        """The process may become another user's meanwhile, by exec: then nothing is told."""

        def asked() -> T:
            with Subject(pid) as subject:
                self._rule(subject, allows, errno.EACCES)
                answer = ask(subject)
                self._rule(subject, allows, errno.EACCES)
                return answer

        return self._patience.call(pid, asked)

    def _rule(self, subject: Subject, allows: Callable[[Rule], bool], refused: int) -> Rule:
        rule = self._rules.find(self._caller.uid, subject.facts(), allows)
        if rule is None:
            raise os_error(refused)
        return rule

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        """Raises NotPermitted for what is not allowed, and for a process that this caller has not locked; OSError."""
        if len(pages) > MOST_PAGES or not 1 <= pid < 1 << 31:
            raise os_error(errno.EINVAL)
        if nodes is None:
            return self._of_process(pid, _always, lambda _: _call(pid, pages, None, status, flags & MOVE))
        with self._lock:
            held = self._held.get(pid)
            if held is None or held.given_back or flags not in (MOVE, MOVE_ALL):
                raise _not_allowed(pid, "this caller has not locked it for moving")
            held.uses += 1
        try:
            return self._move(pid, held, pages, nodes, status, flags)
        finally:
            with self._lock:
                held.uses -= 1
                last = held.given_back and not held.uses
            if last:
                self._give_back(pid, held)

    def _move(self, pid: int, held: _Held, pages: Numbers, nodes: Numbers, status: Numbers, flags: int) -> int:
        wanted = frozenset(nodes)

        def allows(rule: Rule) -> bool:
            within = rule.nodes is None or wanted <= frozenset(rule.nodes)
            return rule.move and within and (rule.shared or flags != MOVE_ALL)

        try:
            rule = self._rule(held.subject, allows, errno.EPERM)
            self._announce(pid, held)
            if rule.rate:
                self._rest(_at_most(pages), rule.rate)
                self._rule(held.subject, allows, errno.EPERM)  # the rest may have been long
        except PermissionError:
            with self._lock:
                held.counts["refused"] += 1
            shared = ", with pages that others map" if flags == MOVE_ALL else ""
            raise _not_allowed(pid, f"to nodes {', '.join(map(str, sorted(wanted)[:8]))}{shared}") from None
        for at in range(len(status)):
            status[at] = -1  # what the kernel does not write has not arrived
        try:
            return _call(pid, pages, nodes, status, flags)
        finally:
            with self._lock:
                held.counts.update(calls=1, pages=len(pages))
                held.arrived.update(one for one, node in zip(status, nodes, strict=True) if one == node)
            try:
                self._rule(held.subject, allows, errno.EPERM)
            except OSError:
                # It is another program's now, or has ended: where its pages are is not told.
                for at in range(len(status)):
                    status[at] = -errno.EACCES

    def _rest(self, amount: int, rate: int) -> None:
        wait = self._budget.spend(amount, rate, _LONGEST_REST)
        if wait is None:
            raise os_error(errno.EBUSY)
        time.sleep(max(0.0, wait))

    def _announce(self, pid: int, held: _Held) -> None:
        """In the audit log before the first page of it moves."""
        with self._lock:
            if held.announced:
                return
            self._audit.write("moving", **held.who)
            held.announced = True

    def lock(self, pids: list[int]) -> list[int]:
        """Locks those of them that the rules let this caller move: which. Raises Busy if another job has one."""
        taken: list[int] = []
        try:
            for pid in dict.fromkeys(pids):
                if type(pid) is not int or not 1 <= pid < 1 << 31 or len(self._held) >= MOST_LOCKS:
                    raise os_error(errno.EINVAL)
                if self._take(pid):
                    taken.append(pid)
        except BaseException:
            self.unlock(taken)
            raise
        return taken

    def _take(self, pid: int) -> bool:
        try:
            subject = Subject(pid)
        except (ProcessLookupError, PermissionError):
            return False
        try:
            facts = subject.facts()
            if self._rules.find(self._caller.uid, facts, lambda rule: rule.move) is None:
                subject.close()
                return False
            self._locks.take(pid)
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            subject.close()
            return False
        except BaseException:
            subject.close()
            raise
        with suppress(OSError):
            command = subject.read("comm", 0, 64, 64)
            with self._lock:
                self._held[pid] = _Held(subject, facts, printable(decode(command.rstrip(b"\n")), 64))
            return True
        self._locks.release(pid)
        subject.close()
        return False

    def unlock(self, pids: list[int]) -> None:
        """Calls that are under way with one of them keep it until they end."""
        for pid in pids:
            with self._lock:
                held = self._held.get(pid)
                if held is None or held.given_back:
                    continue
                held.given_back = True
                used = held.uses > 0
            if not used:
                self._give_back(pid, held)

    def _give_back(self, pid: int, held: _Held) -> None:
        with self._lock:
            self._held.pop(pid, None)
        self._locks.release(pid)
        held.subject.close()
        if held.announced:
            with suppress(NumatuiError, OSError):
                self._audit.write(
                    "moved", **held.who,
                    **{name: held.counts[name] for name in ("calls", "pages", "refused")},
                    arrived={str(node): count for node, count in sorted(held.arrived.items())},
                )  # fmt: skip

    def end(self) -> None:
        """The caller is gone."""
        with self._lock:
            pids = list(self._held)
        self.unlock(pids)


def _not_allowed(pid: int, why: str) -> NotPermitted:
    return NotPermitted(f"the helper does not move process {pid} ({why})", "numatui helper says what it does")


def _always(_: Rule) -> bool:
    return True


def _at_most(pages: Numbers) -> int:
    """Bytes that these pages may have: to the next one, or that of a large page."""
    ordered = sorted(pages)
    return sum(min(after - before, _LARGE) for before, after in pairwise(ordered)) + _LARGE


def _call(pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
    return syscalls.call(
        "move_pages", pid, len(pages), syscalls.pointer(pages), syscalls.pointer(nodes), syscalls.pointer(status), flags
    )
