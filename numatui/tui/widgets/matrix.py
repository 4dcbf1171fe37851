"""A table with a number for each pair of nodes, shaded from near to far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.paint.shade import STEPS, heat_of

Numbers = Mapping[tuple[int, int], float]


class Matrix(ScrollView, can_focus=True):
    """Rows: source node; columns: target node. `more_is_worse`: True for distances, False for bandwidth."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.heading = ""
        self.ids: Sequence[int] = ()
        self.numbers: Numbers = {}
        self.here = -1
        self.more_is_worse = True
        self.cell = 4

    def show(self, heading: str, ids: Sequence[int], numbers: Numbers, here: int, more_is_worse: bool = True) -> None:
        """`here`: the node whose row is marked."""
        self.heading, self.ids, self.numbers, self.here = heading, ids, numbers, here
        self.more_is_worse = more_is_worse
        self.cell = max([4, *(len(f"{value:.0f}") + 1 for value in numbers.values())])
        self.virtual_size = Size(5 + self.cell * len(ids), len(ids) + 2)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        base, paint = self.rich_style, Paint.of(self.app)
        strip = Strip(paint.segments(self._line(y + self.scroll_offset.y), base) or [Segment("", base)])
        x = self.scroll_offset.x
        return strip.crop(x, x + self.size.width).adjust_cell_length(self.size.width, base)

    def _line(self, y: int) -> list[Piece]:
        if y == 0:
            return [(f" {self.heading}", "bold")]
        if y == 1:
            return [("     ", ""), *((f"{node:>{self.cell}}", f"ink:{node}") for node in self.ids)]
        if y - 2 >= len(self.ids):
            return []
        node = self.ids[y - 2]
        pieces: list[Piece] = [(f"{'>' if node == self.here else ' '}{node:>3} ", f"ink:{node}")]
        values = self.numbers.values()
        least, most = min(values, default=0.0), max(values, default=0.0)
        for other in self.ids:
            value = self.numbers.get((node, other))
            if value is None:
                pieces.append(("-".rjust(self.cell), "dim"))
                continue
            heat = heat_of(value, least, most)
            heat = heat if self.more_is_worse else STEPS - heat
            pieces.append((f"{value:>{self.cell}.0f}", f"heat:{heat}"))
        return pieces
