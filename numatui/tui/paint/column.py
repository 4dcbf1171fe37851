"""Columns of tables: what each shows of a row, and which of them a screen has room for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rich.cells import cell_len, set_cell_size

from numatui.tui.paint.paint import Piece

R = TypeVar("R")
Cell = str | Piece | list[Piece]
GAP = 1
CROWD = 4


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column. `cell`: what it shows of a row in so many cells. `width` is the least, `most` what it may grow to.
    `rank`: 0 is always there, others are left out when the screen is narrow, the highest first; those that share a
    `rank` come and go together. `good`: the width it gets before those of `CROWD` and above come in. `order`: what to
    sort by, None for rows without a value; no `order`, no sorting."""

    id: str
    title: str
    width: int
    cell: Callable[[R, int], Cell]
    align: Literal["left", "right"] = "left"
    rank: int = 0
    good: int = 0
    most: int = 0
    order: Callable[[R], Any] | None = None
    descending: bool = False


@dataclass(frozen=True)
class Slot(Generic[R]):
    """A column that is shown, where, and how wide."""

    column: Column[R]
    x: int
    width: int


def fit(columns: Sequence[Column[R]], width: int) -> list[Slot[R]]:
    """The columns that a screen has room for. What is left over goes to those that grow, in the order of their rank."""
    chosen = [column for column in columns if column.rank == 0]
    free = width - sum(column.width + GAP for column in chosen) + GAP
    for rank in sorted({column.rank for column in columns} - {0}):
        group = [column for column in columns if column.rank == rank]
        needed = sum(column.width + GAP for column in group)
        if rank >= CROWD:
            needed += sum(max(0, column.good - column.width) for column in chosen)
        if needed > free:
            break
        free -= sum(column.width + GAP for column in group)
        chosen += group
    extra = dict.fromkeys((column.id for column in chosen), 0)
    for column in sorted(chosen, key=lambda one: one.rank):
        if column.most > column.width and free > 0:
            extra[column.id] = min(free, column.most - column.width)
            free -= extra[column.id]
    return _placed(columns, extra)


def scrolled(columns: Sequence[Column[R]], width: int, skip: int) -> list[Slot[R]]:
    """Those that are always there, and of the others without the first `skip` as many as there is room for, in their
    order."""
    rest = [column for column in columns if column.rank][skip:]
    free = width - sum(column.width + GAP for column in columns if not column.rank) + GAP
    shown = {column.id: 0 for column in columns if not column.rank}
    for column in rest:
        if column.width + GAP > free:
            break
        shown[column.id] = 0
        free -= column.width + GAP
    for column in columns:
        if column.id in shown and column.most > column.width and free > 0:
            shown[column.id] = min(free, column.most - column.width)
            free -= shown[column.id]
    return _placed(columns, shown)


def _placed(columns: Sequence[Column[R]], extra: Mapping[str, int]) -> list[Slot[R]]:
    """Side by side, each with so many cells more than the least."""
    slots: list[Slot[R]] = []
    x = 0
    for column in columns:
        if column.id in extra:
            slots.append(Slot(column, x, column.width + extra[column.id]))
            x += column.width + extra[column.id] + GAP
    return slots


def pad(text: str, width: int, align: Literal["left", "right"]) -> str:
    """Exactly `width` cells; what is cut ends in `…`."""
    have = len(text) if text.isascii() else cell_len(text)
    if have > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return " " * (width - have) + text if align == "right" else text + " " * (width - have)
