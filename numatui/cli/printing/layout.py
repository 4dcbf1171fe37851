"""How tables are printed: the options that every table has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from backend.errors import UsageError
from backend.files.text import printable

T = TypeVar("T")
_NODE = re.compile(r"(?:node|nodes\.|n)(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Layout:
    """An option group (`numatui.cli.option_groups`). While its command runs, `current()` is it."""

    columns: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Only these columns, in this order: pid,rss,n0. Not for --json."),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.")] = None
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The last row first.")] = False
    no_header: Annotated[bool, typer.Option("--no-header", help="Without the line of headings.")] = False
    in_bytes: Annotated[bool, typer.Option("--bytes", help="Sizes in bytes, all digits.")] = False
    wide: Annotated[bool, typer.Option("--wide", "-w", help="Cut nothing to the width of the terminal.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Without notes on stderr.")] = False

    def begin(self) -> None:
        _current.append(self)

    def end(self) -> None:
        _current.pop()

    def cut(self, rows: Iterable[T]) -> list[T]:
        """The rows that are printed, in any format."""
        return self.first(self.ordered(rows))

    def ordered(self, rows: Iterable[T]) -> list[T]:
        """--reverse alone, where a tree is made of the rows before they are cut."""
        out = list(rows)
        return out[::-1] if self.reverse else out

    def first(self, rows: Sequence[T]) -> list[T]:
        """--limit alone."""
        return list(rows if self.limit is None else rows[: self.limit])

    def chosen(self, names: Sequence[str]) -> list[int]:
        """Positions of the columns that are printed. Raises UsageError for a name that is none of them."""
        if self.columns is None:
            return list(range(len(names)))
        there: dict[str, int] = {}
        for position, name in reversed(list(enumerate(names))):
            for alias in _aliases(name):
                there[alias] = position
        out: list[int] = []
        for word in self.columns.split(","):
            if word.strip().lower() not in there:
                known = ",".join(name.lower().replace(" ", "_") for name in names if name)
                raise UsageError(f"there is no column '{printable(word.strip(), 40)}'", f"the columns are {known}")
            out.append(there[word.strip().lower()])
        return out


@dataclass(frozen=True, slots=True)
class Quiet:
    """An option group of commands that do something."""

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors; the exit code says what came of it.")
    ] = False

    def begin(self) -> None:
        _current.append(Layout(quiet=self.quiet))

    def end(self) -> None:
        _current.pop()


def current() -> Layout:
    """The layout that the running command was asked for."""
    return _current[-1]


_current = [Layout()]


def _aliases(name: str) -> Iterable[str]:
    """A column is found by its heading, or without spaces, without its unit, or by what is before an `@`; N0 also as
    node0, nodes.0 and back."""
    lower = name.lower().removesuffix("_bytes")
    yield name.lower()
    yield lower
    yield lower.replace(" ", "_")
    yield lower.partition("@")[0]
    if match := _NODE.match(lower):
        yield from (f"n{match[1]}", f"node{match[1]}", f"nodes.{match[1]}")
