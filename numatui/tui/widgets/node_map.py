"""Choice of nodes for a migration: sources on the left, targets on the right, arrows between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from backend.machine.topology import Node, Topology
from backend.nodeset import NodeSet
from backend.plan.plan import Plan
from numatui.format import size
from numatui.tui.keys import bindings, digits
from numatui.tui.paint import arrows, bars
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece

Side = Literal["from", "to"]


class NodeMap(ScrollView, can_focus=True):
    """Shows the choice that the screen keeps. Posts `Toggled` when the user changes it."""

    BINDINGS: ClassVar = [
        *bindings("node-map"),
        *digits("digit", "Choose a node by its number"),
    ]

    @dataclass
    class Toggled(Message):
        """The user adds or removes a node."""

        side: Side
        node: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.nodes: tuple[Node, ...] = ()
        self.amounts: Mapping[int, int] = {}
        self.running = NodeSet()
        self.sources = NodeSet()
        self.targets = NodeSet()
        self.plan: Plan | None = None
        self.side: Side = "from"
        self.cursor = 0
        self._glyphs = glyphs()
        self._arrows: list[list[Piece]] = []

    def show(
        self, topology: Topology, amounts: Mapping[int, int], running: NodeSet, sources: NodeSet, targets: NodeSet,
        plan: Plan | None,
    ) -> None:  # fmt: skip
        """`amounts`: bytes of the selected processes, by node. `running`: the nodes on which they run."""
        self.nodes = topology.nodes
        self.amounts, self.running = amounts, running
        self.sources, self.targets, self.plan = sources, targets, plan
        self.cursor = min(self.cursor, max(0, len(self.nodes) - 1))
        self._arrange()

    def point_at(self, sources: NodeSet) -> None:
        """Puts the cursor on the first node of `sources`."""
        self.cursor = next((index for index, node in enumerate(self.nodes) if node.id in sources), self.cursor)
        self._reveal()

    def on_resize(self) -> None:
        self._arrange()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def _widths(self) -> tuple[int, int, int]:
        width = self.scrollable_content_region.width
        between = max(8, min(24, width // 5))
        left = max(14, (width - between) * 9 // 20)
        return left, between, max(0, width - between - left)

    def _arrange(self) -> None:
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width, len(self.nodes) + 1)
        lines = {node.id: index for index, node in enumerate(self.nodes)}
        moves = self.plan.moves if self.plan is not None else ()
        self._arrows = arrows.draw(moves, lines, max(6, self._widths()[1] - 2), self._glyphs)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        paint, base = Paint.of(self.app), self.rich_style
        left, between, right = self._widths()
        if y == 0:
            pieces = [
                (" FROM".ljust(left), "head" if self.side == "to" else "sorted"),
                (" " * between, "head"),
                (" TO".ljust(right), "head" if self.side == "from" else "sorted"),
            ]
            return Strip(paint.segments(pieces, base)).adjust_cell_length(self.size.width, base)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self.nodes):
            return Strip([Segment("", base)]).adjust_cell_length(self.size.width, base)
        node = self.nodes[index]
        segments = paint.segments(bars.fitted(self._source(node, left), left), base + self._cursor("from", index))
        segments += paint.segments([(" ", ""), *self._arrows[index], (" ", "")], base)
        segments += paint.segments(bars.fitted(self._target(node, right), right), base + self._cursor("to", index))
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _cursor(self, side: Side, index: int):
        here = side == self.side and index == self.cursor
        return Paint.of(self.app).style(("cursor" if self.has_focus else "blurred") if here else "")

    def _source(self, node: Node, width: int) -> list[Piece]:
        chosen = node.id in self.sources
        amount = self.amounts.get(node.id, 0)
        digits = max(len(str(one.id)) for one in self.nodes)
        pieces: list[Piece] = [
            (" [x]" if chosen else " [ ]", "accent" if chosen else "dim"),
            (f" {node.id:>{digits}}", f"ink:{node.id}"),
            (f" {size(amount):>5} ", "" if amount else "dim"),
        ]
        rest = width - bars.length(pieces)
        runs = " runs here" if node.id in self.running else ""
        if rest >= 16:
            top = max([1, *self.amounts.values()])
            room = rest - 11
            pieces += (
                bars.gauge(amount, top, min(24, room), self._glyphs, f"fill:{node.id}")
                if amount
                else [(" " * min(24, room), "")]
            )
        if rest >= len(runs):
            pieces.append((runs, "good"))
        return pieces

    def _target(self, node: Node, width: int) -> list[Piece]:
        chosen = node.id in self.targets
        digits = max(len(str(one.id)) for one in self.nodes)
        pieces: list[Piece] = [
            (" [x]" if chosen else " [ ]", "accent" if chosen else "dim"),
            (f" {node.id:>{digits}}", f"ink:{node.id}"),
        ]
        if not node.has_memory:
            return [*pieces, (" no memory", "dim")]
        room = next((one for one in self.plan.room if one.node == node.id), None) if self.plan else None
        after = room.after if room is not None and room.incoming else node.free
        enough = room is None or room.enough
        rest = width - bars.length(pieces) - 20
        if rest >= 8 and after is not None:
            pieces.append((" ", ""))
            pieces += bars.gauge(
                node.total - after,
                node.total,
                min(24, rest),
                self._glyphs,
                f"fill:{node.id}" if enough else "far",
            )
        pieces.append((f" {size(node.free):>5} free", ""))
        if room is not None and room.incoming and after is not None:
            pieces.append(
                (f" {self._glyphs.arrow} {size(after) if after > 0 else 'full'}", "good" if enough else "far")
            )
        return pieces

    def _reveal(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)
        self.refresh()

    def action_move(self, step: int) -> None:
        self.cursor = max(0, min(self.cursor + step, len(self.nodes) - 1))
        self._reveal()

    def action_side(self, side: Side) -> None:
        self.side = side
        self.refresh()

    def action_toggle(self) -> None:
        if self.nodes:
            self.post_message(self.Toggled(self.side, self.nodes[self.cursor].id))

    def action_digit(self, digit: int) -> None:
        for index, node in enumerate(self.nodes):
            if node.id == digit:
                self.cursor = index
                self._reveal()
                self.action_toggle()

    def on_click(self, event: events.Click) -> None:
        left, between, _ = self._widths()
        if left <= event.x < left + between:
            return
        self.side = "from" if event.x < left else "to"
        index = event.y - 1 + self.scroll_offset.y
        if event.y > 0 and index < len(self.nodes):
            self.cursor = index
            self.action_toggle()
        self.refresh()
