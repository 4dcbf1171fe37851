"""Memory placement of a process over time, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from numatui.format import duration, size
from numatui.tui.model.history import Moment, sampled
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece


def history_lines(moments: Sequence[Moment], now: int, width: int, height: int, glyphs: Glyphs) -> list[list[Piece]]:
    """A heading with the time span, then a line for each of the nodes that had most. All lines share one scale."""
    room = max(8, width - 16)
    states = sampled(moments, now, room)
    if not states:
        return [[(" no history yet", "dim")]]
    top = max((amount for state in states for amount in state.values()), default=0) or 1
    most = {node: max(state.get(node, 0) for state in states) for state in states for node in state}
    nodes = sorted(sorted((node for node in most if most[node]), key=lambda node: -most[node])[: max(1, height - 1)])
    lines: list[list[Piece]] = [
        [
            (" History ", "bold"),
            (f"the last {duration(max(0, now - moments[0].at) / 1e9)}, up to {size(top)}", "dim"),
        ]
    ]
    for node in nodes:
        line = "".join(_level(state.get(node, 0), top, glyphs) for state in states)
        lines.append(
            [
                (f" {node:>3} ", f"ink:{node}"),
                (line, f"fill:{node}"),
                (f" {size(states[-1].get(node, 0)):>5}", ""),
            ]
        )
    return lines if len(lines) > 1 else [*lines, [("  no memory", "dim")]]


def _level(amount: int, top: int, glyphs: Glyphs) -> str:
    steps = len(glyphs.levels) - 1
    return glyphs.levels[max(1, round(amount / top * steps)) if amount else 0]
