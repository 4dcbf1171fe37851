"""What one selector says of a process. The same for options of commands, keys of policies, and words of the filter.

The names and command lines of processes are hostile: they are compared as they are, up to `LONGEST` characters."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from backend.cgroup.cgroup_names import label, unescape_unit
from backend.cgroup.cpuset_tree import UNIT_SUFFIXES
from backend.errors import UsageError
from backend.files.text import printable
from backend.process.process import Process

Term = Callable[[Process], bool]
Selector = Literal["user", "match", "regex", "cgroup", "unit", "pod", "vm"]
LONGEST = 4096
"""Characters of a command line, and of a selector's value."""
_GLOB = re.compile(r"[*?\[]")


def term(selector: Selector, value: str) -> Term:
    """Raises UsageError for a value that selects nothing, or is no regular expression."""
    if not value or len(value) > LONGEST:
        raise UsageError(f"{selector} needs a value of 1 to {LONGEST} characters", _EXAMPLES[selector])
    return _TERMS[selector](value)


def any_of(terms: tuple[Term, ...]) -> Term:
    return lambda process: any(one(process) for one in terms)


def _user(value: str) -> Term:
    return lambda process: value in (process.user, str(process.uid))


def _match(value: str) -> Term:
    return lambda process: any(fnmatchcase(text, value) for text in _texts(process))


def _regex(value: str) -> Term:
    try:
        pattern = re.compile(value)
    except (re.error, OverflowError, RecursionError) as exc:
        raise UsageError(
            f"'{printable(value, 60)}' is not a regular expression ({exc})", "Python's grammar: ^postgres: .* idle$"
        ) from None
    return lambda process: any(pattern.search(text) for text in _texts(process))


def _cgroup(value: str) -> Term:
    """By the cgroup that its memory is charged to, or by its cpuset: in cgroup v1 they may differ."""
    fits = path_term(value)
    return lambda process: fits(process.cgroup) or fits(process.cpuset)


def path_term(value: str) -> Callable[[str], bool]:
    """Whether a path fits. A path from the root stands for itself and all below it; other text for one or more whole
    names in the path. In both, shell patterns stand for whole names. Raises UsageError."""
    wanted = [part for part in value.split("/") if part]
    if any(part in (".", "..") for part in wanted):
        raise UsageError(f"'{printable(value, 60)}' may not contain . or ..", "write the path from the root")
    anchored = value.startswith("/")
    exact = not _GLOB.search(value)

    @lru_cache(maxsize=1024)
    def fits(path: str) -> bool:
        if exact and anchored:
            whole = "/" + "/".join(wanted)
            return path == whole or whole == "/" or path.startswith(whole + "/")
        have = [part for part in path.split("/") if part]
        last = 0 if anchored else len(have) - len(wanted)
        return any(
            len(have) - start >= len(wanted)
            and all(_same(own, one) for own, one in zip(have[start:], wanted, strict=False))
            for start in range(last + 1)
        )

    return fits


def _same(name: str, wanted: str) -> bool:
    return name == wanted or fnmatchcase(name, wanted)


def _unit(value: str) -> Term:
    wanted = _unit_names(value)
    return lambda process: any(_same(one, two) for one in _names(process.cgroup).units for two in wanted)


def system_unit(value: str) -> Term:
    """As the selector `unit`, but only units of the system's manager. What is below a service or scope is named by whom
    that is delegated to, as a user's units are by the user (user@.service(5))."""
    wanted = _unit_names(value)
    return lambda process: any(_same(one, two) for one in _names(process.cgroup).system_units for two in wanted)


def _unit_names(value: str) -> tuple[str, ...]:
    return (value,) if value.endswith(UNIT_SUFFIXES) else (value, f"{value}.service")


def _pod(value: str) -> Term:
    wanted = value.lower().replace("_", "-").removeprefix("pod")
    return lambda process: any(_same(one, wanted) for one in _names(process.cgroup).pods)


def _vm(value: str) -> Term:
    return lambda process: any(_same(one, value) for one in _names(process.cgroup).vms)


class _Names:
    """What the parts of a cgroup's path stand for."""

    def __init__(self, path: str) -> None:
        parts = [part for part in path.split("/") if part]
        plain = [unescape_unit(part) for part in parts]
        self.units = [part for part in plain if part.endswith(UNIT_SUFFIXES)]
        slices = next((at for at, part in enumerate(plain) if not part.endswith(".slice")), len(plain))
        self.system_units = [part for part in plain[: slices + 1] if part.endswith(UNIT_SUFFIXES)]
        self.pods: list[str] = []
        self.vms: list[str] = []
        for end in range(1, len(parts) + 1):
            found = label("/" + "/".join(parts[:end]))
            if found.kind == "pod":
                self.pods.append(found.id)
            elif found.kind == "vm":
                self.vms.append(found.text.partition(" ")[2])


_names = lru_cache(maxsize=1024)(_Names)


def _texts(process: Process) -> tuple[str, str]:
    return process.comm, process.command[:LONGEST]


_TERMS: dict[Selector, Callable[[str], Term]] = {
    "user": _user,
    "match": _match,
    "regex": _regex,
    "cgroup": _cgroup,
    "unit": _unit,
    "pod": _pod,
    "vm": _vm,
}
SELECTORS: tuple[Selector, ...] = tuple(_TERMS)
_EXAMPLES: dict[Selector, str] = {
    "user": "a name or a number: postgres, 26",
    "match": "a shell pattern for a name or a whole command line: 'ora_*'",
    "regex": "a regular expression that is found in a name or a command line",
    "cgroup": "a path: /system.slice/postgresql.service",
    "unit": "a unit of systemd: postgresql, user@1000.service",
    "pod": "the uid of a pod",
    "vm": "the name of a virtual machine",
}
