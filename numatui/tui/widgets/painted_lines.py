"""Lines of pieces, drawn once: only those that have changed are drawn again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from numatui.tui.paint.paint import Paint, Piece

Line = Sequence[Piece]


class PaintedLines:
    """The lines of a widget whose `render_line` asks here. `show` takes new ones, `repaint` follows a new theme."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self.lines: list[Line] = []
        self._strips: dict[int, Strip] = {}

    def show(self, lines: Sequence[Line], top: int = 0) -> None:
        """`top`: the first line that is seen, of a widget that scrolls."""
        old, self.lines = self.lines, list(lines)
        width, height = self._widget.size
        for index in range(max(len(old), len(self.lines))):
            before = old[index] if index < len(old) else None
            after = self.lines[index] if index < len(self.lines) else None
            if before != after:
                self._strips.pop(index, None)
                if 0 <= index - top < height:
                    self._widget.refresh(Region(0, index - top, width, 1))

    def repaint(self, *_: object) -> None:
        """Draws all again: the theme or the size is another."""
        self._strips.clear()
        self._widget.refresh()

    def strip(self, index: int) -> Strip:
        """A line, as wide as the widget."""
        known = self._strips.get(index)
        width = self._widget.size.width
        if known is None or known.cell_length != width:
            base = self._widget.rich_style
            pieces = self.lines[index] if index < len(self.lines) else ()
            segments = Paint.of(self._widget.app).segments(pieces, base) or [Segment("", base)]
            known = self._strips[index] = Strip(segments).adjust_cell_length(width, base)
        return known
