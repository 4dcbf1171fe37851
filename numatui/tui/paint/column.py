"""Columns of tables, and how many of them fit on a screen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rich.cells import cell_len, set_cell_size

from numatui.tui.paint.paint import Piece

R = TypeVar("R")
Cell = str | Piece | list[Piece]
GAP = 1  # cells between columns
CROWD = 4  # columns from this rank on come in only after the others have their `good` width


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column; widths in cells. `cell`: content for a row and a width. `width`: the least; `most`: the largest.
    `rank`: 0 is always shown. On a narrow screen the highest rank is dropped first; columns of equal rank are dropped
    together. `good`: see `CROWD`. `spare`: takes what is left when all others have their `most`. `order`: sort key,
    None for rows without a value; without it, no sorting."""

    id: str
    title: str
    width: int
    cell: Callable[[R, int], Cell]
    align: Literal["left", "right"] = "left"
    rank: float = 0
    good: int = 0
    most: int = 0
    spare: bool = False
    order: Callable[[R], Any] | None = None
    descending: bool = False


@dataclass(frozen=True)
class Slot(Generic[R]):
    """A visible column, its first cell and its width."""

    column: Column[R]
    x: int
    width: int


def fit(columns: Sequence[Column[R]], width: int) -> list[Slot[R]]:
    """The columns that fit into `width`. Spare cells go to columns that can grow, lowest rank first."""
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
    for column in chosen:
        if column.spare and free > 0:
            extra[column.id] += free
            free = 0
    return _placed(columns, extra)


def scrolled(columns: Sequence[Column[R]], width: int, skip: int) -> list[Slot[R]]:
    """The columns of rank 0, then as many others as fit, without the first `skip` of those."""
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
    """The columns side by side. `extra`: cells beyond the least width, by column."""
    slots: list[Slot[R]] = []
    x = 0
    for column in columns:
        if column.id in extra:
            slots.append(Slot(column, x, column.width + extra[column.id]))
            x += column.width + extra[column.id] + GAP
    return slots


def pad(text: str, width: int, align: Literal["left", "right"]) -> str:
    """The text in exactly `width` cells. Text that is cut ends in `…`."""
    have = len(text) if text.isascii() else cell_len(text)
    if have > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return " " * (width - have) + text if align == "right" else text + " " * (width - have)
