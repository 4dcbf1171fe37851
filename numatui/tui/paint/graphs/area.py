"""Amounts of nodes over time as areas that lie on each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

_EIGHTHS = 8


def stacked(
    states: Sequence[Mapping[int, int]], height: int, top: int, glyphs: Glyphs, plain: bool = False
) -> list[list[Piece]]:
    """`height` lines with a cell for each state; a full column is `top`. The lowest node lies at the bottom. A cell in
    which two nodes meet has both colours; with `plain` or without block characters it has the number of the node that
    has most of it."""
    columns = [_bounds(state, height * _EIGHTHS, top) for state in states]
    fine = glyphs.braille and not plain
    return [[_cell(column, row * _EIGHTHS, glyphs, fine) for column in columns] for row in reversed(range(height))]


def _bounds(state: Mapping[int, int], steps: int, top: int) -> list[tuple[int, int]]:
    """(node, the step up to which it reaches), from the bottom."""
    out: list[tuple[int, int]] = []
    so_far = 0
    for node in sorted(state):
        if state[node] > 0:
            so_far += state[node]
            reach = min(steps, max(out[-1][1] if out else 1, round(so_far / top * steps))) if top > 0 else 0
            out.append((node, reach))
    return out


def _cell(bounds: Sequence[tuple[int, int]], low: int, glyphs: Glyphs, fine: bool) -> Piece:
    """The cell of the steps from `low` on. Of more than two nodes in it, the two that have most of it are seen."""
    parts: list[tuple[int, int]] = []
    start = 0
    for node, reach in bounds:
        amount = min(reach, low + _EIGHTHS) - max(start, low)
        if amount > 0:
            parts.append((node, amount))
        start = reach
    if not parts:
        return (" ", "")
    filled = sum(amount for _, amount in parts)
    most = max(parts, key=lambda part: part[1])[0]
    if not fine:
        return (str(most % 10), f"ink:{most}") if filled * 2 >= _EIGHTHS else (" ", "")
    if len(parts) == 1 or filled < _EIGHTHS:  # a character has two colours
        return (glyphs.levels[filled], f"fill:{most}")
    kept = sorted(parts, key=lambda part: -part[1])[:2]
    (lower, amount), (upper, _) = sorted(kept)
    return (glyphs.levels[amount], f"over:{lower}.{upper}")
