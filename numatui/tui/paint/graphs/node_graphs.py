"""One node over the last readings, as graphs side by side. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from numatui.format import count, percent, size
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.graph import titled
from numatui.tui.paint.node_table import NodeRow
from numatui.tui.paint.paint import Piece

LEAST = 4
"""Lines of a graph with its heading."""
_WIDE = 64  # cells from which two are side by side
_GAP = 2
_NEAR = 4
"""Free memory of so many times the high watermark is shown on a scale of its own."""


def node_graphs(
    row: NodeRow, history: Mapping[str, Sequence[float]], tops: Mapping[str, float], width: int, height: int,
    glyphs: Glyphs,
) -> list[list[Piece]]:  # fmt: skip
    """CPU load, free memory, allocations that hit and missed, as many as have room. `tops`: the highest hit and miss so
    far, pages a second; the other scales end at all of its CPUs and memory."""
    node = row.node
    ink, last = f"ink:{node.id}", {name: values[-1] for name, values in history.items() if values}
    some: list[tuple[str, str, float, str]] = []
    if "cpu" in last:
        some.append(("cpu", f"CPU {percent(last['cpu'])}", 1.0, ink))
    if "free" in last:
        top = _free_scale(row, history["free"])
        scale = f", scale to {size(int(top))}" if top < node.total else ""
        some.append(
            ("free", f"free {size(last['free'])} of {size(node.total)}{scale}", top, "far" if row.short else ink)
        )
    for name, text in (("hit", "allocated here as meant"), ("miss", "here, but meant for others")):
        if name in last:
            some.append((name, f"{count(last[name])}/s {text}", tops.get(name, 0.0), ink if name == "hit" else "warn"))
    columns = 2 if width >= _WIDE else 1
    each = height // -(-len(some) // columns) if some else 0
    if each < LEAST:
        columns, each = 1, LEAST
        some = some[: height // LEAST]
    room = width // columns - _GAP
    marks = {"min": row.marks.min, "low": row.marks.low, "high": row.marks.high}
    marks = {name: mark for name, mark in marks.items() if mark}
    blocks = [
        titled([(about, "bold")], history[name], room, each, top, role, glyphs, marks if name == "free" else None)
        for name, about, top, role in some
    ]
    gap: Piece = (" " * (_GAP - 1), "")
    return [
        [piece for part in parts for piece in ((" ", ""), *part, gap)]
        for at in range(0, len(blocks), columns)
        for parts in zip_longest(*blocks[at : at + columns], fillvalue=[])
    ]


def _free_scale(row: NodeRow, free: Sequence[float]) -> float:
    """All of its memory; where little of it was free all the time, a scale on which the watermarks are apart."""
    near = float(_NEAR * row.marks.high)
    return near if 0 < near < row.node.total and max(free, default=0.0) <= near else float(row.node.total)
