"""The machine as a map: nodes as boxes, links between neighbours whose weight is the distance, and the pages that flow
along them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from backend.machine.topology import Node, Topology
from numatui.format import count, percent, size
from numatui.tui.model.flows import Flows
from numatui.tui.paint import bars
from numatui.tui.paint.canvas import Canvas
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.node_table import NodeRow, kinds_bar
from numatui.tui.paint.paint import Piece

Form = Literal["map", "lines", "off"]
FORMS: tuple[Form, ...] = ("map", "lines", "off")
"""How much of the machine is shown above the processes."""
LEAST, MOST = 22, 46
"""Cells of a box in a row."""
NODES = range(2, 16)
"""How many nodes a map shows: one is no machine to map, and many are a matrix."""
BOX = 5
"""Rows of a box."""
_CROSS = 3  # rows between boxes where links cross
_WIDE_GAP, _GAP = 14, 8  # cells between boxes in a row
_NEAR, _MIDDLE, _FAR = 0, 1, 2
_LEAST_RATE = 0.5
"""Pages a second below which pressure on a node is not told."""
_WEIGHTS = ("bold", "", "dim")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the boxes stand. `gap`, `between`: cells between columns, and rows between rows."""

    columns: int
    rows: int
    box: int
    gap: int
    between: int

    @property
    def width(self) -> int:
        return self.columns * self.box + (self.columns - 1) * self.gap

    @property
    def height(self) -> int:
        return self.rows * BOX + (self.rows - 1) * self.between

    @property
    def crosses(self) -> bool:
        """Whether the links between opposite corners are drawn."""
        return self.columns == 2 and self.between == _CROSS

    def at(self, index: int) -> tuple[int, int]:
        """The upper left corner of a box."""
        row, column = divmod(index, self.columns)
        return column * (self.box + self.gap), row * (BOX + self.between)


@dataclass(frozen=True, slots=True)
class MapState:
    """What the map shows. `rows`: a row for each node; `cpu`: node → its share of CPU time over the last readings.
    `phase`: grows with time while pages flow."""

    topology: Topology
    rows: Sequence[NodeRow]
    cpu: Mapping[int, Sequence[float]]
    flows: Flows
    phase: int = 0


class _Link(NamedTuple):
    """Between the nodes of two boxes; `first` is left of or above `second`."""

    first: int
    second: int
    weight: int
    distance: str


def grid_for(nodes: int, width: int, height: int) -> Grid | None:
    """The grid that fits; None if there is none. Up to four nodes stand in a square, so that all links are seen."""
    if nodes not in NODES:
        return None
    for rows in (1,) if nodes == 2 else (2, 1, 3) if nodes <= 10 else (3, 2):
        columns = -(-nodes // rows)
        gap = _WIDE_GAP if columns == 2 else _GAP
        box = min(MOST, (width - (columns - 1) * gap) // columns)
        for between in (_CROSS, 1) if columns == 2 and rows == 2 else (1,):
            grid = Grid(columns, rows, box, gap, between)
            if box >= LEAST and grid.height <= height:
                return grid
    return None


def draw(state: MapState, grid: Grid, glyphs: Glyphs) -> list[list[Piece]]:
    """The map: `grid.height` lines of `grid.width` cells."""
    canvas = Canvas(grid.width, grid.height)
    for index, row in enumerate(state.rows):
        _box(canvas, *grid.at(index), grid.box, row, state.cpu.get(row.node.id, ()), glyphs)
    ids = [row.node.id for row in state.rows]
    weight = _weights(state.topology, ids)
    for index, node in enumerate(ids):
        x, y = grid.at(index)
        column, below = index % grid.columns, index + grid.columns
        if column + 1 < grid.columns and index + 1 < len(ids):
            _across(canvas, x + grid.box, y + BOX // 2, grid.gap, weight(node, ids[index + 1]), state, glyphs)
        if below < len(ids):
            _down(canvas, x + grid.box // 2, y + BOX, grid.between, weight(node, ids[below]), state, glyphs)
    if grid.crosses:
        _cross(
            canvas, grid, [weight(ids[1], ids[2]), *([weight(ids[0], ids[3])] if len(ids) > 3 else [])], state, glyphs
        )
    return canvas.lines()


def _weights(topology: Topology, ids: Sequence[int]) -> Callable[[int, int], _Link]:
    """A function that makes the link between two nodes. The weight is a third of the range of distances."""
    far = sorted({topology.distance(a, b) for a in ids for b in ids if a != b})
    least, most = (far[0], far[-1]) if far else (0, 0)

    def link(first: int, second: int) -> _Link:
        there, back = topology.distance(first, second), topology.distance(second, first)
        third = (max(there, back) - least) * 3 // (most - least) if most > least else _MIDDLE
        return _Link(first, second, min(_FAR, third), str(there) if there == back else f"{there}/{back}")

    return link


def _box(canvas: Canvas, x: int, y: int, width: int, row: NodeRow, cpu: Sequence[float], glyphs: Glyphs) -> None:
    node, inner = row.node, width - 4
    edge = "far" if row.short else "dim"
    left_up, right_up, right_down, left_down = glyphs.corners
    flat, upright = glyphs.lines[12], glyphs.lines[3]
    canvas.put(x, y, left_up + flat * (width - 2) + right_up, edge)
    title = f" node {node.id} "
    canvas.put(x + 2, y, title, f"ink:{node.id}")
    cpus = f" {f'cpus {node.cpus}' if node.cpus else 'no CPUs'} "
    if len(cpus) <= width - len(title) - 5:
        canvas.put(x + width - 2 - len(cpus), y, cpus, "dim" if node.cpus else "warn")
    for line in range(1, BOX - 1):
        canvas.put(x, y + line, upright, edge)
        canvas.put(x + width - 1, y + line, upright, edge)
    canvas.put(x, y + BOX - 1, left_down + flat * (width - 2) + right_down, edge)
    for line, pieces in enumerate((_memory(node, inner, glyphs), _amounts(row, inner), _load(row, cpu, inner, glyphs))):
        canvas.pieces(x + 2, y + 1 + line, pieces, inner)


def _memory(node: Node, width: int, glyphs: Glyphs) -> list[Piece]:
    return kinds_bar(node, width, glyphs, shades=True) if node.has_memory else [("no memory", "dim")]


def _amounts(row: NodeRow, width: int) -> list[Piece]:
    node = row.node
    if not node.has_memory:
        return []
    used = size(None if node.free is None else node.total - node.free)
    free = f"{size(node.free)} free" + ("!" if row.short else "")
    text = f"{used} of {size(node.total)}"
    return [(text, ""), (free.rjust(max(0, width - len(text))), "far" if row.short else "dim")]


def _load(row: NodeRow, cpu: Sequence[float], width: int, glyphs: Glyphs) -> list[Piece]:
    right = _pressure(row)
    if not row.node.cpus:
        return [(right.rjust(width), "warn")]
    text = f"cpu {percent(row.busy):>4} "
    room = max(0, width - len(text) - len(right))
    line = bars.sparkline(cpu, room, glyphs, 1.0)
    return [(text, "warn" if (row.busy or 0) > 0.9 else ""), (line, f"fill:{row.node.id}"), (right, "warn")]


def _pressure(row: NodeRow) -> str:
    """What shows that memory is short here or nearby, whichever is most: pages that came back after they were thrown
    out, that were meant for here and went elsewhere (out), or that were meant for elsewhere (miss)."""
    back = sum(rate for name, rate in row.rates.items() if name.startswith("workingset_refault"))
    out, miss = row.rates.get("numa_foreign", 0.0), row.rates.get("numa_miss", 0.0)
    rate, word = max((back, "refault"), (out, "out"), (miss, "miss"))
    return f" {word} {count(rate)}/s" if rate >= _LEAST_RATE else ""


def _moving(link: _Link, state: MapState) -> tuple[float, int, bool]:
    """Of both directions the stronger: bytes a second, the source, and whether it is the first."""
    there = state.flows.get((link.first, link.second), 0.0)
    back = state.flows.get((link.second, link.first), 0.0)
    return (there, link.first, True) if there >= back else (back, link.second, False)


def _beads(length: int, phase: int, forward: bool, line: str, bead: str) -> str:
    """A line with a bead every third cell, which moves on with each phase."""
    return "".join(bead if (at - (phase if forward else -phase)) % 3 == 0 else line for at in range(length))


def _across(canvas: Canvas, x: int, y: int, width: int, link: _Link, state: MapState, glyphs: Glyphs) -> None:
    rate, source, forward = _moving(link, state)
    label = f" {link.distance} "
    middle = x + (width - len(label)) // 2
    if rate:
        head = glyphs.head if forward else glyphs.back
        canvas.put(x, y, _beads(width, state.phase, forward, glyphs.flat[_MIDDLE], head), f"ink:{source}")
        told = f"{size(rate)}/s"
        canvas.put(x + (width - len(told)) // 2, y - 1, told, f"ink:{source}")
    else:
        canvas.put(x, y, glyphs.flat[link.weight] * width, _WEIGHTS[link.weight])
        canvas.put(middle, y, label, _WEIGHTS[link.weight])


def _down(canvas: Canvas, x: int, y: int, height: int, link: _Link, state: MapState, glyphs: Glyphs) -> None:
    rate, source, forward = _moving(link, state)
    role = f"ink:{source}" if rate else _WEIGHTS[link.weight]
    line = glyphs.upright[_MIDDLE if rate else link.weight] * height
    if rate:
        line = _beads(height, state.phase, forward, line[0], glyphs.down if forward else glyphs.up)
    for at, character in enumerate(line):
        canvas.put(x, y + at, character, role)
    canvas.put(x + 2, y + height // 2, f"{size(rate)}/s" if rate else link.distance, role)


def _cross(canvas: Canvas, grid: Grid, links: Sequence[_Link], state: MapState, glyphs: Glyphs) -> None:
    """The link from the upper right to the lower left, and the one from the upper left. Of two numbers that are equal
    one is shown. Where pages flow is on top."""
    rising, falling = links[0], links[-1] if len(links) > 1 else None
    if falling is not None and falling.distance == rising.distance:
        rising = rising._replace(distance="")
    some = [(rising, True), *([(falling, False)] if falling is not None else [])]
    for link, rises in sorted(some, key=lambda one: _moving(one[0], state)[0]):
        _slope(canvas, grid.box, BOX, grid.gap, link, state, glyphs, rises)
    if len(some) > 1 and not any(_moving(link, state)[0] for link, _ in some):
        canvas.put(grid.box + grid.gap // 2 - 1, BOX + 1, glyphs.slopes[2], "dim")


def _slope(
    canvas: Canvas, x: int, y: int, width: int, link: _Link, state: MapState, glyphs: Glyphs, rising: bool
) -> None:  # fmt: skip
    """From corner to corner of the gap, over three rows; the middle one is where two cross. `rising`: from the upper
    right to the lower left."""
    rate, source, _ = _moving(link, state)
    role = f"ink:{source}" if rate else _WEIGHTS[link.weight]
    centre, step = width // 2 - 1, width // 3
    places = [(centre - step, 0), (centre, 1), (centre + step, 2)]
    bead = state.phase % 3 if link.first == source else 2 - state.phase % 3
    for at, row in places:
        sign = glyphs.mark if rate and row == bead else glyphs.slopes[1 if rising else 0]
        canvas.put(x + (2 * centre - at if rising else at), y + row, sign, role)
    label = f"{size(rate)}/s" if rate else link.distance
    if rising:
        canvas.put(x + centre + step - 1 - len(label), y, label, role)
    else:
        canvas.put(x + centre + step - 1 - len(label) if rate else x + centre - step + 2, y + (2 if rate else 0),
                   label, role)  # fmt: skip
