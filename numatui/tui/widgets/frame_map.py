"""The frames of a node as a map. A cell is one letter and stands for 2**k frames."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from backend.emulator.inspect.frame_map import Cells
from numatui.tui.keys import bindings
from numatui.tui.paint.frame_kinds import ROLES, letter
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint

MARGIN = 10  # cells for the frame number before each row
_ROW_OF = 8  # rows have a multiple of 8 cells, so that they begin at round frame numbers


class FrameMap(ScrollView, can_focus=True):
    """Shows frames that the screen reads. Posts `Moved` when other frames become visible or the cursor moves."""

    BINDINGS: ClassVar = bindings("frame-map")

    class Moved(Message):
        """Other frames are visible, or the cursor has moved."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.first = 0
        self.pages = 0
        self.shift = 0
        self.cursor = 0
        self.cells: Cells | None = None
        self._glyphs = glyphs()

    @property
    def per_row(self) -> int:
        """Cells in a row."""
        return max(_ROW_OF, (self.size.width - MARGIN - 1) // _ROW_OF * _ROW_OF)

    @property
    def total(self) -> int:
        """Cells of the whole node."""
        return -(-self.pages >> self.shift)

    @property
    def cell(self) -> tuple[int, int]:
        """(first pfn, frames) of the cell under the cursor."""
        return self._cell_of(self.cursor)

    def _cell_of(self, pfn: int) -> tuple[int, int]:
        start = self.first + ((pfn - self.first) >> self.shift << self.shift)
        return start, max(0, min(1 << self.shift, self.first + self.pages - start))

    @property
    def widest(self) -> int:
        """The lowest `shift` at which the whole node is visible."""
        room = self.per_row * max(1, self.size.height)
        shift = 0
        while -(-self.pages >> shift) > room:
            shift += 1
        return shift

    @property
    def visible(self) -> tuple[int, int]:
        """(first pfn, frames) of the visible part."""
        row = self.per_row << self.shift
        start = self.first + self.scroll_offset.y * row
        return start, max(0, min(row * max(1, self.size.height), self.first + self.pages - start))

    def node(self, first: int, pages: int) -> None:
        """Shows another node, zoomed out to the whole node."""
        self.first, self.pages, self.cursor, self.cells = first, pages, first, None
        self.shift = self.widest
        self._arrange()

    def show(self, cells: Cells) -> None:
        """Shows cells that were read. Cells of another zoom or node are ignored."""
        if cells.shift == self.shift and self.first <= cells.first < self.first + max(1, self.pages):
            self.cells = cells
            self.refresh()

    def on_resize(self) -> None:
        self.shift = min(self.shift, self.widest) if self.cells is not None else self.widest
        self._arrange()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Moved())

    def _arrange(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, -(-self.total // self.per_row))
        self.post_message(self.Moved())
        self.refresh()

    def render_line(self, y: int) -> Strip:
        paint, base = Paint.of(self.app), self.rich_style
        row = y + self.scroll_offset.y
        start = self.first + (row * self.per_row << self.shift)
        if start >= self.first + self.pages:
            return Strip([Segment("", base)]).adjust_cell_length(self.size.width, base)
        segments = paint.segments([(f"{start:>{MARGIN - 1}} ", "dim")], base) + self._cells(start, paint, base)
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _cells(self, start: int, paint: Paint, base: Style) -> list[Segment]:
        if self.cells is None or start < self.cells.first:
            return []
        offset = (start - self.cells.first) >> self.shift
        kinds = self.cells.kinds[offset : offset + self.per_row]
        if not len(kinds):
            return []
        edges = np.nonzero(np.diff(kinds))[0] + 1
        here = ((self.cursor - start) >> self.shift) if self.cursor >= start else -1
        if 0 <= here < len(kinds):
            edges = np.unique(np.concatenate([edges, [here, here + 1]]))
        ends = [edge for edge in edges.tolist() if 0 < edge < len(kinds)]
        out: list[Segment] = []
        for begin, end in zip([0, *ends], [*ends, len(kinds)], strict=True):
            kind = int(kinds[begin])
            style = base + paint.style(ROLES[kind])  # type: ignore[index]
            if begin == here:
                style += Style(reverse=True, bold=True, underline=True)
            out.append(Segment(letter(kind, self._glyphs) * (end - begin), style))
        return out

    def _go(self, pfn: int) -> None:
        self.cursor = max(self.first, min(pfn, self.first + self.pages - 1))
        self._reveal()
        self.post_message(self.Moved())
        self.refresh()

    def _reveal(self) -> None:
        row = ((self.cursor - self.first) >> self.shift) // self.per_row
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if row < top:
            self.scroll_to(y=row, animate=False, force=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False, force=True)

    def action_move(self, cells: int, rows: int) -> None:
        target = self.cursor + ((cells + rows * self.per_row) << self.shift)
        if self.first <= target < self.first + self.pages:
            self._go(target)

    def action_page(self, pages: int) -> None:
        self.action_move(0, 0)
        self._go(self.cursor + (pages * max(1, self.size.height - 1) * self.per_row << self.shift))

    def action_jump(self, end: int) -> None:
        self._go(self.first + end * (self.pages - 1))

    def action_zoom(self, step: int) -> None:
        """Changes the zoom. The cursor stays on its frame and, if possible, on its line of the screen."""
        shift = max(0, min(self.shift + step, self.widest))
        if shift == self.shift:
            return
        line = ((self.cursor - self.first) >> self.shift) // self.per_row - self.scroll_offset.y
        self.shift, self.cells = shift, None
        row = ((self.cursor - self.first) >> shift) // self.per_row
        self._arrange()
        self.scroll_to(y=max(0, row - line), animate=False, force=True)
        self._reveal()

    def on_click(self, event: events.Click) -> None:
        x = event.x - MARGIN
        if 0 <= x < self.per_row:
            row = event.y + self.scroll_offset.y
            self._go(self.first + ((row * self.per_row + x) << self.shift))
