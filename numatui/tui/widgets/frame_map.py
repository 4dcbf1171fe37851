"""The frames of a node as a map. A cell is one letter and stands for 2**k frames. Cells that have just become something
else stand out for a moment, so that pages are seen to come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from numatui.tui.keys import bindings
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece

MARGIN = 10  # cells for the frame number before each row
_FRESH = 0.6
"""Seconds for which a cell that has changed stands out."""
_ROW_OF = 8  # rows have a multiple of 8 cells, so that they begin at round frame numbers


@dataclass(frozen=True, slots=True)
class ShownCells:
    """Cells of 2**`shift` frames from pfn `first` on. `codes`: what each is; `sign`: letter and role of a code. `dim`:
    cells that are not asked for. `share`: how much of each cell is drawn as filled, 0 to 1, instead of a letter, in the
    role `filled`."""

    first: int
    shift: int
    codes: NDArray[np.int32]
    sign: Callable[[int], Piece]
    dim: NDArray[np.bool_] | None = None
    share: NDArray[np.float32] | None = None
    filled: str = ""

    def alike(self, other: ShownCells | None) -> bool:
        """Whether the other ones are the same cells at another time."""
        return other is not None and (other.first, other.shift, len(other.codes)) == (
            self.first, self.shift, len(self.codes),
        )  # fmt: skip


class FrameMap(ScrollView, can_focus=True):
    """Shows frames that the screen reads. Posts `Moved` when other frames become visible or the cursor or the mouse
    moves."""

    BINDINGS: ClassVar = bindings("frame-map")

    class Moved(Message):
        """Other frames are visible, or the cursor or the mouse has moved."""

    def __init__(self, node: int, first: int, pages: int) -> None:
        super().__init__(classes="frames")
        self.node = node
        self.first, self.pages, self.cursor = first, pages, first
        self.shift = 0
        self.hover = -1
        self.cells: ShownCells | None = None
        self._glyphs = glyphs()
        self._fresh: NDArray[np.bool_] | None = None
        self._whole = True

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

    @property
    def pointed(self) -> tuple[int, int]:
        """The same of the cell under the mouse, or under the cursor where the mouse is elsewhere."""
        return self._cell_of(self.hover) if self.hover >= 0 else self.cell

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

    def show(self, cells: ShownCells, same: bool = True) -> None:
        """Shows cells that were read. Cells of another zoom are ignored. `same`: codes mean what they meant before, so
        those that are others now have changed."""
        if cells.shift != self.shift:
            return
        old, self.cells = self.cells, cells
        self._fresh = None
        if same and cells.alike(old) and self.app.animation_level != "none":
            fresh = cells.codes != old.codes  # type: ignore[union-attr]
            if fresh.any():
                self._fresh = fresh
                self.set_timer(_FRESH, self._calm)
        self.refresh()

    def _calm(self) -> None:
        if self._fresh is not None:
            self._fresh = None
            self.refresh()

    def on_resize(self) -> None:
        """Who sees the whole node sees it afterwards, too."""
        self.shift = self.widest if self._whole else min(self.shift, self.widest)
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
        shown = self.cells
        if shown is None or start < shown.first:
            return []
        offset = (start - shown.first) >> self.shift
        at = slice(offset, offset + self.per_row)
        codes = shown.codes[at]
        if not len(codes):
            return []
        parts: list[NDArray[Any]] = [codes]
        parts += [part[at] for part in (shown.dim, self._fresh) if part is not None]
        levels = None if shown.share is None else _levels(shown.share[at], self._glyphs.levels)
        parts += [] if levels is None else [levels]
        here = ((self.cursor - start) >> self.shift) if self.cursor >= start else -1
        edges = {int(edge) + 1 for part in parts for edge in np.nonzero(part[1:] != part[:-1])[0]}
        edges |= {edge for edge in (here, here + 1) if 0 < edge < len(codes)}
        out: list[Segment] = []
        for begin, end in zip([0, *sorted(edges)], [*sorted(edges), len(codes)], strict=True):
            letter, role = shown.sign(int(codes[begin]))
            if levels is not None:
                letter, role = self._glyphs.levels[int(levels[begin])], shown.filled
            elif shown.dim is not None and shown.dim[offset + begin]:
                role = "dim"
            style = base + paint.style(role)
            if self._fresh is not None and self._fresh[offset + begin]:
                style += Style(reverse=True, bold=True)
            if begin == here:
                style += Style(reverse=True, bold=True, underline=True)
            out.append(Segment(letter * (end - begin), style))
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
        self._whole = shift == self.widest
        row = ((self.cursor - self.first) >> shift) // self.per_row
        self._arrange()
        self.scroll_to(y=max(0, row - line), animate=False, force=True)
        self._reveal()

    def _under(self, event: events.MouseEvent) -> int:
        """The first frame of the cell under the mouse, or -1."""
        x = event.x - MARGIN
        if not 0 <= x < self.per_row:
            return -1
        pfn = self.first + (((event.y + self.scroll_offset.y) * self.per_row + x) << self.shift)
        return pfn if pfn < self.first + self.pages else -1

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._point(self._under(event))

    def on_leave(self) -> None:
        self._point(-1)

    def _point(self, pfn: int) -> None:
        if pfn != self.hover:
            self.hover = pfn
            self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        pfn = self._under(event)
        if pfn >= 0:
            self._go(pfn)


def _levels(share: NDArray[np.float32], levels: str) -> NDArray[np.int32]:
    """Steps of a filled cell; what is there is at least one step high."""
    top = len(levels) - 1
    return np.where(share > 0, np.maximum(1, np.rint(share * top)), 0).astype(np.int32)
