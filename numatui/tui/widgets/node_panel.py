"""The nodes, one line each: memory, CPUs, distances. A demo adds a line with its throughput."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from backend.machine.topology import Node, Topology
from numatui.format import age, count, size
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import Snapshot

HISTORY = 400  # throughput values kept: one per cell of a wide screen


class NodePanel(ScrollView, can_focus=False):
    """Shows the app's last reading. No key works on it: Tab does not lead here."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.history: deque[float] = deque(maxlen=HISTORY)
        self.best = (0.0, 0)
        """The highest throughput so far, and when it was read, on the kernel's clock."""
        self.snapshot: Snapshot | None = None
        self._glyphs = glyphs()
        self._lines: list[list[Piece]] = []

    def on_mount(self) -> None:
        self.watch(self.app, "snapshot", self._show)
        self.app.theme_changed_signal.subscribe(self, lambda _: self.refresh())

    def on_resize(self) -> None:
        self._arrange()

    def _show(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        if self.snapshot is not None and snapshot.at < self.snapshot.at:
            self.history.clear()
            self.best = (0.0, 0)
        self.snapshot = snapshot
        work = sum((snapshot.throughput or {}).values())
        if snapshot.throughput or self.history:
            self.history.append(work)
            self.best = max(self.best, (work, snapshot.at), key=lambda one: one[0])
        self._arrange()

    def _arrange(self) -> None:
        """Makes the lines for the current width. The panel takes at most a third of the screen."""
        snapshot = self.snapshot
        if snapshot is None or not self.size.width:
            return
        width = self.scrollable_content_region.width
        self._lines = [node_line(node, snapshot.topology, width, self._glyphs) for node in snapshot.topology.nodes]
        if self.history:
            since = (snapshot.at - self.best[1]) / 1e9
            self._lines.append(work_line(self.history, self.best[0], since, width, self._glyphs))
        self.virtual_size = Size(width, len(self._lines))
        self.styles.height = max(2, min(len(self._lines), self.screen.size.height // 3))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        pieces = self._lines[index] if index < len(self._lines) else []
        base = self.rich_style
        segments = Paint.of(self.app).segments(pieces, base) or [Segment("", base)]
        return Strip(segments).adjust_cell_length(self.size.width, base)


def node_line(node: Node, topology: Topology, width: int, glyphs: Glyphs) -> list[Piece]:
    """Memory in use, free memory, CPUs and distances. Columns align across the nodes of a machine. Columns that do not
    fit are dropped from the right.
    """
    digits = max(len(str(one.id)) for one in topology.nodes)
    cpus_width = min(20, max(len(_cpus(one)) for one in topology.nodes))
    room = max(8, min(48, width - 45 - cpus_width - 4 * len(topology.nodes)))
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
    distances: list[Piece] = [("  distance", "dim")]
    for other in topology.nodes:
        distance = topology.distance(node.id, other.id)
        distances.append((f"{distance:>{3 if distance < 100 else 4}}", "bold" if other.id == node.id else ""))
    parts: tuple[list[Piece], ...] = (
        [("  " + cpus.ljust(cpus_width), "" if node.cpus else "warn")],
        distances,
    )
    for part in parts:
        if bars.length(pieces) + bars.length(part) > width:
            break
        pieces += part
    return pieces


def work_line(history: Sequence[float], best: float, since: float, width: int, glyphs: Glyphs) -> list[Piece]:
    """Throughput over time, its last value, and that value relative to the best so far, which was `since` seconds
    ago."""
    now = history[-1]
    number = f" {count(now):>6} ops/s"
    if width >= 70:
        when = f", {age(since)} ago" if since >= 1 else ""
        number = (number + (f", {now / best * 100:3.0f}% of the best{when}" if best else "")).ljust(42)
    role = "good" if now >= best * 0.95 else "warn" if now >= best * 0.7 else "far"
    line = bars.sparkline(history, max(4, width - len(number) - 8), glyphs, best)
    return [(" work ", "bold"), (line, role), (number, role)]


def _cpus(node: Node) -> str:
    return f"cpus {node.cpus}" if node.cpus else "no CPUs"
