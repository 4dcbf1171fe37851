"""The machine on top of the main screen: a map of its nodes with graphs beside it; where that has no room, a line for
each node."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from backend.machine.topology import Node, Topology
from numatui.format import size
from numatui.tui.paint import bars, machine_map
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.graphs.trend_graphs import trend_graphs, work_line
from numatui.tui.paint.machine_map import Form
from numatui.tui.paint.node_table import NodeRow, node_rows
from numatui.tui.paint.paint import Piece
from numatui.tui.paint.shade import heat_of
from numatui.tui.reading.reader import Snapshot
from numatui.tui.state.state import state_of
from numatui.tui.widgets.painted_lines import PaintedLines

_FRAME = 0.15
"""Seconds between two pictures of flowing pages."""
_LATE, _PATIENCE = 3 * _FRAME, 4
"""Over ssh, nothing moves any more after so many pictures that came so many seconds after the one before."""
_PANE = 64  # most cells of the graphs beside the map
_APART = 2  # cells between the map and the graphs


class NodePanel(ScrollView, can_focus=False):
    """Shows the app's last reading. No key works on it: Tab does not lead here. `form`: what the user wants; the map
    folds to lines by itself. At most a third of the screen's height."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.form: Form = "map"
        self.snapshot: Snapshot | None = None
        self.grid: machine_map.Grid | None = None
        self._glyphs = glyphs()
        self._drawn = PaintedLines(self)
        self._right: list[list[Piece]] = []
        self._map: machine_map.MapState | None = None
        self._phase = 0
        self._motion: Timer | None = None
        self._drawn_at = 0.0
        self._late = 0

    def on_mount(self) -> None:
        self._motion = self.set_interval(_FRAME, self._flow, pause=True)
        self.watch(self.app, "snapshot", self._show)
        self.app.theme_changed_signal.subscribe(self, self._drawn.repaint)

    def on_resize(self) -> None:
        self._arrange()

    def become(self, form: Form) -> None:
        """Takes another form."""
        self.form = form
        self.display = form != "off"
        self._arrange()

    def _show(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.snapshot = snapshot
            self._arrange()

    def _arrange(self) -> None:
        """Makes the lines for the current size."""
        snapshot = self.snapshot
        if snapshot is None or not self.size.width or self.form == "off":
            return
        width, height = self.scrollable_content_region.width, max(2, self.screen.size.height // 3)
        topology, trends = snapshot.topology, state_of(self).trends
        pane = min(_PANE, width * 2 // 5)
        self.grid = None
        if self.form == "map":
            self.grid = machine_map.grid_for(len(topology.nodes), width - pane - _APART, height)
            if self.grid is None:
                pane = 0
                self.grid = machine_map.grid_for(len(topology.nodes), width, height - bool(trends.work))
        flowing = self.grid is not None and bool(snapshot.flows) and self.app.animation_level != "none"
        if self._motion is not None:
            (self._motion.resume if flowing else self._motion.pause)()
        self._right = []
        if self.grid is not None:
            self._map = self._state(snapshot)
            lines = machine_map.draw(self._map, self.grid, self._glyphs)
            if pane:
                room = width - self.grid.width - _APART - 1
                self._right = trend_graphs(trends, snapshot.flows, snapshot.at, room, self.grid.height, self._glyphs)
        else:
            digits = len(str(max(topology.ids, default=0)))
            farthest = max((topology.distance(a, b) for a in topology.ids for b in topology.ids), default=0)
            lines = [node_line(one, topology, width, digits, farthest, self._glyphs) for one in topology.nodes]
        if trends.work and not self._right:
            lines.append(work_line(trends, snapshot.at, width, self._glyphs))
        self.virtual_size = Size(width, len(lines))
        self.styles.height = max(2, min(len(lines), height))
        self._draw(lines)

    def _draw(self, lines: list[list[Piece]]) -> None:
        """With the graphs, if there are some, to the right."""
        apart: Piece = (" " * _APART, "")
        beside = [[*line, apart, *right] for line, right in zip(lines, self._right, strict=False)]
        self._drawn.show([*beside, *lines[len(beside) :]], self.scroll_offset.y)

    def _state(self, snapshot: Snapshot) -> machine_map.MapState:
        state, activity = state_of(self), snapshot.activity
        rates = {node: dict(some) for node, some in activity.rates.items()}
        rows: list[NodeRow] = node_rows(snapshot.topology, dict(activity.busy), rates, {}, state.kernel.page_size)
        cpu = {row.node.id: tuple(state.node_history.of(row.node.id).get("cpu", ())) for row in rows}
        return machine_map.MapState(snapshot.topology, rows, cpu, snapshot.flows, self._phase)

    def _flow(self) -> None:
        """The pages move on by one cell."""
        now = time.monotonic()
        late, self._drawn_at = now - self._drawn_at > _LATE, now
        self._late = self._late + 1 if late else 0
        if self._late >= _PATIENCE and "SSH_CONNECTION" in os.environ:
            self.app.animation_level = "none"  # each frame is longer under way than it is shown
            self._arrange()
            return
        if self._map is not None and self.grid is not None and self.app.screen is self.screen:
            self._phase += 1
            self._map = replace(self._map, phase=self._phase)
            self._draw(machine_map.draw(self._map, self.grid, self._glyphs))

    def render_line(self, y: int) -> Strip:
        return self._drawn.strip(y + self.scroll_offset.y)


def node_line(
    node: Node, topology: Topology, width: int, digits: int, farthest: int, glyphs: Glyphs
) -> list[Piece]:  # fmt: skip
    """Memory in use, free memory, CPUs and distances. Columns align across the nodes of a machine. Columns that do not
    fit are dropped from the right. Many nodes: the distances are shades. `digits`: of the largest node's number.
    `farthest`: the largest distance of the machine."""
    count = len(topology.nodes)
    cpus_width = min(20, max(len(_cpus(one)) for one in topology.nodes))
    shades = count > machine_map.NODES[-1]
    room = max(8, min(48, width - 45 - cpus_width - (2 if shades else 4) * count))
    pieces: list[Piece] = [(f" {'node ' if width >= 70 else ''}{node.id:>{digits}} ", f"ink:{node.id}")]
    if node.has_memory:
        free, used = node.free, None if node.free is None else node.total - node.free
        pieces += bars.gauge(used or 0, node.total, room, glyphs, f"fill:{node.id}")
        pieces.append((f" {size(used):>5}/{size(node.total):<5}", ""))
        scarce = free is not None and free < node.total // 20
        pieces.append((f" {size(free):>5} free", "warn" if scarce else "dim"))
    else:
        pieces.append(("no memory".ljust(room + 23), "dim"))
    cpus = _cpus(node)
    cpus = cpus if len(cpus) <= cpus_width else cpus[: cpus_width - 1] + "…"
    for part in (
        [("  " + cpus.ljust(cpus_width), "" if node.cpus else "warn")],
        _shades(node, topology, farthest, width) if shades else _distances(node, topology),
    ):
        if bars.length(pieces) + bars.length(part) > width:
            break
        pieces += part
    return pieces


def _distances(node: Node, topology: Topology) -> list[Piece]:
    out: list[Piece] = [("  distance", "dim")]
    for other in topology.nodes:
        distance = topology.distance(node.id, other.id)
        out.append((f"{distance:>{3 if distance < 100 else 4}}", "bold" if other.id == node.id else ""))
    return out


def _shades(node: Node, topology: Topology, farthest: int, width: int) -> list[Piece]:
    """A cell for each node, from near to far: the line of a matrix."""
    row = [topology.distance(node.id, other.id) for other in topology.nodes]
    wide = 2 if width >= 90 + 2 * len(row) else 1
    return [("  ", ""), *((" " * wide, f"heat:{heat_of(one, min(row), farthest)}") for one in row)]


def _cpus(node: Node) -> str:
    return f"cpus {node.cpus}" if node.cpus else "no CPUs"
