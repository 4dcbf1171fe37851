"""The heat of a process's memory: addresses from left to right, time from top to bottom; and where it lies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.files.text import printable
from backend.heat.grid import Axis, MappingHeat
from backend.heat.heat import Heat
from numatui.format import duration, percent, size
from numatui.tui.paint import bars
from numatui.tui.paint.cells import tail
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.graph import runs
from numatui.tui.paint.paint import Piece
from numatui.tui.paint.shade import STEPS

_TIME = 6
"""Cells of the column with the time of a line."""
_LEAST = 8
"""Cells of the map below which there is none."""


def heat_map(
    past: Sequence[tuple[int, Heat]],
    places: Mapping[int, float],
    width: int,
    height: int,
    glyphs: Glyphs,
    plain: bool = False,
) -> list[list[Piece]]:
    """`past`: (nanoseconds of the kernel's clock, what was seen then), the newest last. `places`: node → share of the
    time that it runs there. `plain`: for screens without colours. At most `height` lines: the nodes of the memory, then
    the windows, the newest first."""
    count = width - _TIME - 1
    if not past or count < _LEAST or height < 2:
        return []
    at, newest = past[-1]
    axis = Axis(newest.ranges, count)
    lines = [_nodes(axis, newest, places, glyphs)]
    for when, heat in list(reversed(past))[: height - 1]:
        label = "now" if when == at else f"-{(at - when) / 1e9:.0f} s"
        lines.append([(f"{label:>{_TIME}} ", "dim"), *_cells(axis.cells(heat.ranges), glyphs, plain)])
    return lines


def _cells(cells: Sequence[float | None], glyphs: Glyphs, plain: bool) -> list[Piece]:
    levels = glyphs.levels if plain else " " * len(glyphs.levels)
    signs = [" " if one is None else levels[_step(one, len(levels) - 1)] if one > 0 else "·" for one in cells]
    text = "".join(signs) if glyphs.braille else "".join(signs).replace("·", ".")
    return runs(text, ["" if one is None else f"heat:{_step(one, STEPS)}" if one > 0 else "dim" for one in cells])


def _step(share: float, most: int) -> int:
    """At least 1: what is used at all is seen."""
    return max(1, min(most, round(share * most)))


def _nodes(axis: Axis, newest: Heat, places: Mapping[int, float], glyphs: Glyphs) -> list[Piece]:
    """The node of each cell: of what is hot and far from where it runs it stands out."""
    nodes, cells = axis.nodes(), axis.cells(newest.ranges)
    signs = [" " if node is None else str(node)[-1] for node in nodes]
    roles: list[str] = []
    for node, heat in zip(nodes, cells, strict=True):
        hot = heat is not None and heat > 0
        if node is None:
            roles.append("")
        elif hot and places and node not in places:
            roles.append("far")
        else:
            roles.append(f"ink:{node}" if hot else "dim")
    return [(f"{'node':>{_TIME}} ", "dim"), *runs("".join(signs), roles)]


def summary(heat: Heat, places: Mapping[int, float], width: int, glyphs: Glyphs, plain: bool) -> list[list[Piece]]:
    """Two bars: all memory and what is used, by node; then how that was learnt."""
    here = max(places, key=lambda node: places[node]) if places else None
    room = max(10, min(60, width - 40))
    local = heat.hot_and_local(places)
    share = heat.hot / heat.resident if heat.resident else 0.0
    how = "by DAMON" if heat.way == "damon" else "by accessed bits: of a mapping it is not known which pages"
    cost = f", {percent(heat.cost / heat.seconds)} of a CPU" if heat.way == "damon" and heat.seconds else ""
    why = f" ({heat.why})" if heat.why else ""
    return [
        [
            (" all   ", "dim"), *bars.placement(heat.by_node, here, room, glyphs, plain),
            (f"  {size(heat.resident)}", "bold"),
        ],
        [
            (" used  ", "dim"), *bars.placement(heat.hot_by_node, here, room, glyphs, plain),
            (f"  {size(heat.hot)}", "bold"), (f"  {percent(share)} of it", ""),
            *([("  local ", "dim"), (percent(local), "far" if local < 0.5 else "")] if local is not None else []),
        ],
        bars.fitted([(f" used within {duration(heat.seconds)}, {how}{cost}{why}", "dim")], width),
    ]  # fmt: skip


def heat_columns(ids: Sequence[int], places: Mapping[int, float]) -> list[Column[MappingHeat]]:
    """Of mappings."""

    def on(node: int):
        def cell(one: MappingHeat, _: int) -> Piece:
            amount = one.hot_by_node.get(node, 0)
            mark = "" if one.exact or not amount else "~"
            far = bool(places) and node not in places
            return mark + size(amount), "dim" if not amount else "far" if far else f"ink:{node}"

        return cell

    return [
        Column("start", "ADDRESS", 12, lambda one, _: f"{one.start:x}", "right", most=16),
        Column("here", "HERE", 5, lambda one, _: size(one.resident), "right"),
        Column("hot", "HOT", 5, lambda one, _: size(one.hot), "right"),
        Column("seen", "SEEN", 6, lambda one, _: "" if one.rate is None else f"{one.rate:.0f}/s", "right", rank=2),
        *[Column(f"hot{node}", f"HOT@N{node}", 6, on(node), "right", rank=4) for node in ids],
        Column("name", "MAPPING", 10, lambda one, width: tail(printable(one.name, 4096), width), most=48),
    ]
