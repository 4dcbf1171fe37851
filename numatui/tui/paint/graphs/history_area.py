"""Memory placement of a process over time. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from numatui.format import duration, size
from numatui.tui.model.history import Moment, sampled
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.area import stacked
from numatui.tui.paint.paint import Piece


def history_area(
    moments: Sequence[Moment], now: int, width: int, height: int, glyphs: Glyphs, plain: bool = False
) -> list[list[Piece]]:
    """A heading with the time span and what is where now, then the areas of the nodes, as high as there is room. `now`:
    nanoseconds of the kernel's clock."""
    states = sampled(moments, now, max(8, width - 1))
    if not states or height < 2:
        return [[(" no history yet", "dim")]]
    top = max(sum(state.values()) for state in states)
    heading: list[Piece] = [
        (" Memory over time ", "bold"),
        (f"{duration(max(0, now - moments[0].at) / 1e9)}, up to {size(top)} ", "dim"),
    ]
    last = states[-1]
    for node in sorted((node for node in last if last[node]), key=lambda node: -last[node])[: max(1, width // 14)]:
        heading += [(f" {node} ", f"ink:{node}"), (size(last[node]), "")]
    return [heading, *[[(" ", ""), *line] for line in stacked(states, height - 1, top, glyphs, plain)]]
