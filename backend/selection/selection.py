"""A selection of processes, and the processes that it selects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from backend.cgroup.cgroups import ROOT, find_hierarchies
from backend.errors import NotFound, NotPermitted, ParseError
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.kernel import Kernel
from backend.process.process import Process, pids, read_process, with_descendants
from backend.selection.terms import SELECTORS, Term, any_of, term


@dataclass(frozen=True, slots=True)
class Selection:
    """Of one selector, any value will do; of several selectors, all must fit. `pids` and `patterns` (parts of names or
    commands, whatever their case) are one selector. `minimum`: bytes resident at least. `tree`: all descendants of what
    is selected too, whether they fit or not."""

    pids: tuple[int, ...] = ()
    patterns: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    cgroup: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    vm: tuple[str, ...] = ()
    minimum: int = 0
    tree: bool = False

    @property
    def is_everybody(self) -> bool:
        """Whether nothing is selected in particular."""
        return not any(getattr(self, one.name) for one in fields(self) if one.name != "tree")

    @property
    def text(self) -> str:
        """As options of a command, harmless for a terminal."""
        words = [*map(str, self.pids[:5]), *(["…"] if len(self.pids) > 5 else []), *map(shell_word, self.patterns)]
        words += [f"--{name} {shell_word(value)}" for name in SELECTORS for value in getattr(self, name)]
        words += [f"--min {self.minimum}"] if self.minimum else []
        return printable(" ".join(words), 200)


def matcher(kernel: Kernel, selection: Selection) -> Term:
    """As `term_of`; a cgroup may also be named by its path in the filesystem. Raises UsageError."""
    inside = replace(selection, cgroup=tuple(_inside(kernel, one) for one in selection.cgroup))
    return term_of(inside, kernel.traits.own_pid)


def term_of(selection: Selection, own_pid: int = 0) -> Term:
    """Whether a process is selected, apart from `tree`. numatui itself, or its agent, is selected only by its
    pid. Raises UsageError."""
    terms = [
        any_of(tuple(term(name, one) for one in values)) for name in SELECTORS if (values := getattr(selection, name))
    ]
    named, parts = frozenset(selection.pids), tuple(one.casefold() for one in selection.patterns)
    everybody, minimum = selection.is_everybody, selection.minimum

    def fits(process: Process) -> bool:
        if process.pid not in named and not everybody:
            texts = (process.comm.casefold(), process.command.casefold())
            if process.pid == own_pid or (
                (named or parts) and not any(part in text for part in parts for text in texts)
            ):
                return False
        return process.rss >= minimum and all(one(process) for one in terms)

    return fits


def select(kernel: Kernel, selection: Selection) -> list[Process]:
    """The selected processes, without kernel threads that are not named by their pids; descendants after what they
    descend from. Raises UsageError; NotFound if there are none, if a pid is not there, or does not fit the other
    selectors; NotPermitted if it may not be read."""
    fits = matcher(kernel, selection)
    found: dict[int, Process] = {}
    only_named = bool(selection.pids) and not selection.patterns
    for pid in dict.fromkeys(selection.pids if only_named else pids(kernel)):
        try:
            process = read_process(kernel, pid)
        except (NotFound, NotPermitted, ParseError):
            if pid in selection.pids:
                raise
            continue
        if fits(process) and (not process.is_kernel_thread or pid in selection.pids):
            found[pid] = process
    check_named(selection, found)
    if not found:
        raise nobody(selection)
    if selection.tree:
        for pid in with_descendants(kernel, list(found)):
            if pid not in found:
                try:
                    found[pid] = read_process(kernel, pid)
                except (NotFound, NotPermitted, ParseError):
                    continue
    return list(found.values())


def matcher_of_tree(kernel: Kernel, selection: Selection) -> Term:
    """As `matcher`, with `tree`: the descendants are those of now. Raises as `select`."""
    if not selection.tree or selection.is_everybody:
        return matcher(kernel, selection)
    there = {process.pid for process in select(kernel, selection)}
    return lambda process: process.pid in there


def check_named(selection: Selection, found: Iterable[int]) -> None:
    """Raises NotFound if a process that is named by its pid was not found."""
    there = set(found)
    missing = [pid for pid in selection.pids if pid not in there]
    if missing:
        raise NotFound(
            f"process {missing[0]} does not match {selection.text}",
            "name processes by pids, or by what they have in common",
        )


def nobody(selection: Selection) -> NotFound:
    """The error of a selection that fits nobody."""
    if selection.cgroup and selection == Selection(cgroup=selection.cgroup, tree=selection.tree):
        names = ", ".join(selection.cgroup)
        return NotFound(f"no process is in the cgroup {printable(names, 200)}", "numatui cgroups lists those there are")
    return NotFound(f"no process matches {selection.text}", "numatui ps lists all")


def _inside(kernel: Kernel, path: str) -> str:
    """A path in the filesystem as a path from the root of its hierarchy; any other text as it is."""
    for hierarchy in find_hierarchies(kernel) if path.startswith(ROOT) else ():
        if path == hierarchy.mount or path.startswith(hierarchy.mount + "/"):
            return path[len(hierarchy.mount) :] or "/"
    return path
