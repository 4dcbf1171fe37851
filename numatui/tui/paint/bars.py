"""Bars of text: placement (stacked, one segment per node), gauges and sparklines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numatui.tui.model.scale import Scale, cells_of
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece


def shares(amounts: Mapping[int, int], width: int) -> list[tuple[int, int]]:
    """(node, cells), ascending by node; the cells sum to `width`. A node with at least 1% of the total gets at least
    one cell, if there are enough cells. Empty if the total is zero.
    """
    total = sum(amounts.values())
    if total <= 0 or width <= 0:
        return []
    shown = [node for node in sorted(amounts) if amounts[node] * 100 >= total]
    if len(shown) > width:
        shown = sorted(sorted(shown, key=lambda node: -amounts[node])[:width])
    exact = {node: amounts[node] * width / sum(amounts[one] for one in shown) for node in shown}
    cells = {node: max(1, int(exact[node])) for node in shown}
    while (rest := width - sum(cells.values())) != 0:
        step = 1 if rest > 0 else -1
        able = [node for node in shown if step > 0 or cells[node] > 1]
        cells[max(able, key=lambda node: (exact[node] - cells[node]) * step)] += step
    return [(node, cells[node]) for node in shown]


def placement(
    by_node: Mapping[int, int] | None, here: int | None, width: int, glyphs: Glyphs, plain: bool = False
) -> list[Piece]:
    """The stacked bar. Each segment begins with its node's number. The segment of `here`, the node where the process
    runs, is bright, others are dim; without `here` all are alike. `plain`: for screens without colours; a heavy line
    fills the segment of `here`, lines of a pattern for each node the others."""
    if by_node is None:
        return [("not allowed".ljust(width)[:width], "dim")]
    parts = shares(by_node, width)
    if not parts:
        return [(" " * width, "")]
    out: list[Piece] = []
    for node, cells in parts:
        label = str(node)
        label = label if len(label) <= cells else label[-cells:]
        fill = " " if not plain else glyphs.here if node == here else glyphs.away[node % len(glyphs.away)]
        kind = "here" if node == here else "node" if here is None else "away"
        out.append((label + fill * (cells - len(label)), f"{kind}:{node}"))
    return out


def scaled(
    by_node: Mapping[int, int], here: int | None, most: int, width: int, scale: Scale, glyphs: Glyphs, plain: bool
) -> list[Piece]:  # fmt: skip
    """The stacked bar, as long as its memory is large beside `most`, and blanks up to `width`."""
    cells = cells_of(sum(by_node.values()), most, width, scale)
    return [*placement(by_node, here, cells, glyphs, plain), (" " * (width - cells), "")]


def gauge(part: float, whole: float, width: int, glyphs: Glyphs, role: str) -> list[Piece]:
    """A bar of `part` in `whole`. Any part above zero fills at least one cell."""
    share = min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
    full = round(share * width)
    if not full and share > 0:
        full = 1
    return [(glyphs.full * full, role), (glyphs.empty * (width - full), "dim")]


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs, top: float) -> str:
    """The last `width` values, right-aligned, on a scale from zero to `top`, so that a height means the same later."""
    steps = len(glyphs.levels) - 1
    line = "".join(
        glyphs.levels[min(steps, max(1, round(value / top * steps)))] if value > 0 < top else glyphs.levels[0]
        for value in list(values)[-width:]
    )
    return line.rjust(width)


def length(pieces: Sequence[Piece]) -> int:
    """Cells that the pieces take. Every character must be one cell wide."""
    return sum(len(text) for text, _ in pieces)


def fitted(pieces: Sequence[Piece], width: int) -> list[Piece]:
    """The pieces, cut or padded to exactly `width` cells."""
    out: list[Piece] = []
    for text, role in pieces:
        out.append((text[:width], role))
        width -= len(out[-1][0])
    return [*out, (" " * width, "")]
