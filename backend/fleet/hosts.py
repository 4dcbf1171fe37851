"""Sets of hosts, as ClusterShell has them: `db[1-3],web7`, groups (`@db`) from its groups.conf, differences
(`web[1-9]!web4`).

ClusterShell is an extra: `pip install 'numatui[fleet]'`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import NotSupported, UsageError
from backend.files.given_file import read_given, unreadable
from backend.files.text import printable
from backend.remote.ssh import Destination

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 10_000
"""Hosts of a fleet."""
_MOST_TEXT = 1 << 16
_USER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.$-]*)@(?=.)")
_LARGE = re.compile(r"[0-9]{7,}")
"""A range up to such a number is refused before it is made."""


def parse_hosts(text: str) -> list[str]:
    """The hosts of a set, in its order; with `USER@` before it, as ssh takes them. Raises UsageError, NotSupported
    without ClusterShell."""
    user = _USER.match(text)
    named = text[user.end() :] if user else text
    if len(named) > _MOST_TEXT or _LARGE.search(named):
        raise UsageError(f"'{printable(text, 60)}' is no set of hosts (too large)", "write it like db[1-3],web7,@group")
    try:
        found = [str(one) for one in _node_set()(named)]
    except Exception as exc:  # of NodeSet, RangeSet and of sources of groups: they have no class in common
        why = printable(str(exc) or type(exc).__name__, 200)
        raise UsageError(
            f"'{printable(text, 60)}' is no set of hosts ({why})", "write it like db[1-3],web7,@group"
        ) from None
    if not found:
        raise UsageError(f"'{printable(text, 60)}' names no host", "write it like db[1-3],web7,@group")
    if len(found) > MOST:
        raise UsageError(f"{len(found)} hosts are too many", f"at most {MOST} at a time")
    return [Destination(user[0] + one if user else one).host for one in found]


def read_hosts(path: Path) -> list[str]:
    """Those of a file: a set on each line; what follows a # is a remark. Raises UsageError, NotFound, ParseError."""
    try:
        lines = read_given(path).decode("utf-8", "replace").splitlines()
    except OSError as exc:
        raise unreadable(f"the list of hosts {printable(str(path), 120)}", exc) from None
    sets = [line.partition("#")[0].strip() for line in lines]
    found = list(dict.fromkeys(host for one in sets if one for host in parse_hosts(one)))
    if not found:
        raise UsageError(f"{printable(str(path), 120)} names no host", "write a set on each line: db[1-3]")
    if len(found) > MOST:
        raise UsageError(f"{len(found)} hosts are too many", f"at most {MOST} at a time")
    return found


def folded(hosts: Iterable[str]) -> str:
    """The shortest text that names them: `db[1-3],web7`."""
    by_user: dict[str, list[str]] = {}
    for host in hosts:
        user, at, name = host.rpartition("@")
        by_user.setdefault(user + at, []).append(name)
    make = _node_set()
    # A USER@ holds for all that follows it in a set: one set for each user.
    return " ".join(user + str(make.fromlist(names)) for user, names in by_user.items())


def _node_set() -> Any:
    try:
        from ClusterShell.NodeSet import NodeSet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError:
        raise NotSupported("a fleet needs ClusterShell", "pip install 'numatui[fleet]'") from None
    made: Callable[..., Any] = NodeSet
    return made
