"""The options that select processes, the same for every command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from backend.errors import UsageError
from backend.files.text import printable
from backend.selection.selection import Selection
from numatui.cli.shell import completing
from numatui.format import parse_size

_MOST_INPUT = 1 << 20
"""Bytes of pids on standard input."""
Many = list[str] | None

Pids = Annotated[
    Many, typer.Argument(metavar="[PID]...", help="Processes; - reads pids from stdin.", autocompletion=completing.pids)
]
Patterns = Annotated[
    Many,
    typer.Argument(
        help="Pids, or parts of names or commands (any of them); - reads pids from stdin.",
        autocompletion=completing.pids,
    ),
]


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """An option group (`numatui.cli.option_groups`). Each can be given several times: any of the values will do. Of
    different options, all must fit."""

    match: Annotated[
        Many, typer.Option(metavar="GLOB", help="Only where the name or the whole command line matches: 'ora_*'.")
    ] = None
    regex: Annotated[
        Many, typer.Option(metavar="REGEX", help="Only where this is found in the name or command line.")
    ] = None
    user: Annotated[
        Many, typer.Option(help="Only processes of this user (name or uid).", autocompletion=completing.users)
    ] = None
    cgroup: Annotated[
        Many,
        typer.Option(
            help="Only processes in this cgroup and those below it (/a/b, or names in a path: 'app-*.slice').",
            autocompletion=completing.cgroups,
        ),
    ] = None
    unit: Annotated[Many, typer.Option(help="Only processes of this systemd unit.")] = None
    pod: Annotated[Many, typer.Option(metavar="UID", help="Only processes of this pod.")] = None
    vm: Annotated[Many, typer.Option(metavar="NAME", help="Only this virtual machine (libvirt).")] = None
    minimum: Annotated[
        str, typer.Option("--min", metavar="SIZE", help="Only processes with at least this much memory (100M, 2G).")
    ] = "0"
    tree: Annotated[bool, typer.Option("--tree", help="Also their children and grandchildren.")] = False

    def of(self, words: Many) -> Selection:
        """With pids and `-`. Raises UsageError."""
        return self._with(_pids(words or []), ())

    def of_patterns(self, words: Many) -> Selection:
        """With pids, parts of names, and `-`. Raises UsageError."""
        names = [word for word in words or [] if not (word.isdecimal() or word == "-")]
        return self._with(_pids([word for word in words or [] if word not in names]), tuple(names))

    def _with(self, pids: tuple[int, ...], patterns: tuple[str, ...]) -> Selection:
        return Selection(
            pids, patterns, *(tuple(one or ()) for one in (self.match, self.regex, self.user, self.cgroup, self.unit,
            self.pod, self.vm)), minimum=parse_size(self.minimum), tree=self.tree,
        )  # fmt: skip


def _pids(words: list[str]) -> tuple[int, ...]:
    out: list[int] = []
    for word in words:
        out += _from_stdin() if word == "-" else [_pid(word)]
    return tuple(dict.fromkeys(out))


def _pid(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 19):
        raise UsageError(f"'{printable(word, 40)}' is not a pid", "select by name with --match: --match 'ora_*'")
    return int(word)


def _from_stdin() -> list[int]:
    """Pids separated by white space or commas. Raises UsageError if there are none: none must not become all."""
    text = sys.stdin.buffer.read(_MOST_INPUT + 1)
    if len(text) > _MOST_INPUT:
        raise UsageError("there is more than 1 MiB on standard input", "give pids, separated by spaces or newlines")
    found = [_pid(word) for word in text.decode("ascii", "replace").replace(",", " ").split()]
    if not found:
        raise UsageError("there are no pids on standard input", "pgrep -u postgres | numatui ps -")
    return found
