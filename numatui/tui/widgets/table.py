"""A table for any number of rows. Only visible rows are rendered; only changed lines are drawn again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from numatui.tui.keys import bindings
from numatui.tui.paint.column import GAP, Column, R, Slot, fit, pad, scrolled
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece


class Table(ScrollView, Generic[R], can_focus=True):
    """Rows below a fixed heading. The cursor stays on its row (by `key_of`) when the order changes. `skip`: optional
    columns that are scrolled out on the left."""

    BINDINGS: ClassVar = bindings("table")

    @dataclass
    class Opened(Message):
        """A row was chosen with Enter or a double click."""

        table: Table[Any]
        row: Any

    @dataclass
    class HeadClicked(Message):
        """The heading of a column was clicked."""

        table: Table[Any]
        column: str

    @dataclass
    class SignClicked(Message):
        """The sign that opens or closes a row was clicked."""

        table: Table[Any]
        row: Any

    def __init__(self, *, id: str | None = None, empty: str = "") -> None:
        super().__init__(id=id)
        self.empty = empty
        self.columns: Sequence[Column[R]] = ()
        self.rows: Sequence[R] = ()
        self.slots: list[Slot[R]] = []
        self.cursor = 0
        self.skip = 0
        self.sorted_by: tuple[str, bool] | None = None
        self._glyphs = glyphs()
        self._paint: Paint | None = None
        self._drawn: dict[int, tuple[object, Strip]] = {}

    @property
    def current(self) -> R | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    @property
    def paint(self) -> Paint:
        if self._paint is None:
            self._paint = Paint.of(self.app)
        return self._paint

    def key_of(self, row: R) -> Hashable:
        """Identity of a row across readings."""
        return id(row)

    def role_of(self, row: R) -> str:
        """The role of a whole line."""
        return ""

    def sign_of(self, row: R) -> tuple[str, int]:
        """(id of the column with the sign that opens or closes a row, cells of that column that react to a click).
        0 cells: the row has no children."""
        return "", 0

    def show(self, rows: Sequence[R], columns: Sequence[Column[R]] | None = None) -> None:
        """Shows rows, and new columns if given. The cursor follows its row; if the row is gone, it keeps its line."""
        key = self.key_of(self.current) if self.current is not None else None
        anew = len(rows) != len(self.rows)
        self.rows = rows
        if columns is not None and columns != self.columns:
            self.columns = columns
            self._fit()
        where = self._index_of(key)
        moved = where is not None and where != self.cursor
        self.cursor = max(0, min(self.cursor if where is None else where, len(rows) - 1))
        if anew:
            self.virtual_size = Size(self.scrollable_content_region.width, len(rows) + 1)
        if moved:
            self._reveal()
        self._refresh_changed()

    def _index_of(self, key: Hashable) -> int | None:
        """Index of the row with this key, or None. Most often it has not moved."""
        if self.cursor < len(self.rows) and self.key_of(self.rows[self.cursor]) == key:
            return self.cursor
        keys = [self.key_of(row) for row in self.rows]
        same = next((index for index, one in enumerate(keys) if one is key), None)
        return same if same is not None else keys.index(key) if key in keys else None

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._repaint)

    def on_resize(self) -> None:
        self._fit()

    def watch_show_vertical_scrollbar(self) -> None:
        # The scroll bar takes cells from the columns.
        self._fit()

    def on_focus(self) -> None:
        self._refresh_changed()

    def on_blur(self) -> None:
        self._refresh_changed()

    def _repaint(self, _: object) -> None:
        self._paint = None
        self._drawn.clear()
        self.refresh()

    def _fit(self) -> None:
        width = self.scrollable_content_region.width
        self.skip = min(self.skip, self._most_skipped())
        self.slots = scrolled(self.columns, width, self.skip) if self.skip else fit(self.columns, width)
        self.virtual_size = Size(width, len(self.rows) + 1)
        self._drawn.clear()
        self.refresh()

    def _most_skipped(self) -> int:
        """The largest useful `skip`: the last column is just visible."""
        width, last = self.scrollable_content_region.width, next(reversed(self.columns), None)
        moving = sum(1 for column in self.columns if column.rank)
        for skip in range(1, moving):
            slots = scrolled(self.columns, width, skip)
            if slots and slots[-1].column is last:
                return skip
        return max(0, moving - 1)

    def _refresh_changed(self) -> None:
        for y in range(self.size.height):
            if y not in self._drawn or self._drawn[y][0] != self._content(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        content = self._content(y)
        drawn = self._drawn.get(y)
        if drawn is not None and drawn[0] == content:
            return drawn[1]
        role, pieces = content
        base = self.rich_style + self.paint.style(role)
        segments = self.paint.segments(pieces, base) if pieces else []
        strip = Strip(segments or [Segment("", base)]).adjust_cell_length(self.size.width, base)
        self._drawn[y] = (content, strip)
        return strip

    def _content(self, y: int) -> tuple[str, list[Piece]]:
        """(role, pieces) of a line of the screen."""
        if y == 0:
            return "head", self._heading()
        index = y - 1 + self.scroll_offset.y
        if not 0 <= index < len(self.rows):
            return "", [(self.empty, "dim")] if y == 2 and not self.rows else []
        row = self.rows[index]
        role = self.role_of(row)
        if index == self.cursor:
            role = "cursor" if self.has_focus else "blurred"
        return role, self._line(row)

    def _line(self, row: R) -> list[Piece]:
        pieces: list[Piece] = []
        for number, slot in enumerate(self.slots):
            if number:
                pieces.append((" " * GAP, ""))
            cell = slot.column.cell(row, slot.width)
            if isinstance(cell, list):
                pieces += cell
            else:
                text, role = (cell, "") if isinstance(cell, str) else cell
                pieces.append((pad(text, slot.width, slot.column.align), role))
        return pieces

    def _heading(self) -> list[Piece]:
        pieces: list[Piece] = []
        for number, slot in enumerate(self.slots):
            if number:
                pieces.append((" " * GAP, "head"))
            title, role = slot.column.title, "head"
            if self.sorted_by is not None and self.sorted_by[0] == slot.column.id:
                sign = self._glyphs.down if self.sorted_by[1] else self._glyphs.up
                title, role = (title[: slot.width - 1] + sign, "sorted")
            pieces.append((pad(title, slot.width, slot.column.align), role))
        return self._with_signs(pieces)

    def _with_signs(self, pieces: list[Piece]) -> list[Piece]:
        """Adds signs for hidden columns on the left and right to the empty end of the heading."""
        hidden = len(self.columns) - len(self.slots)
        if not hidden or not self.slots:
            return pieces
        used = self.slots[-1].x + self.slots[-1].width
        signs = f"{self._glyphs.more[0] if self.skip else ''}{self._glyphs.more[1] if hidden > self.skip else ''}"
        room = self.scrollable_content_region.width - used
        (title, role), free = pieces[-1], len(pieces[-1][0]) - len(pieces[-1][0].rstrip())
        if room + free <= len(signs):
            return pieces
        taken = max(0, len(signs) - room)
        return [*pieces[:-1], (title[: len(title) - taken], role), (signs.rjust(room + taken), "key")]

    def _go(self, index: int) -> None:
        self.cursor = max(0, min(index, len(self.rows) - 1))
        self._reveal()
        self._refresh_changed()

    def _reveal(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def action_move(self, step: int) -> None:
        self._go(self.cursor + step)

    def action_page(self, pages: int) -> None:
        self._go(self.cursor + pages * max(1, self.size.height - 2))

    def action_jump(self, index: int) -> None:
        self._go(index if index >= 0 else len(self.rows) + index)

    def action_scroll_columns(self, step: int) -> None:
        if any(column not in [slot.column for slot in self.slots] for column in self.columns) or self.skip:
            self.skip = max(0, self.skip + step)
            self._fit()

    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.Opened(self, self.current))

    def on_click(self, event: events.Click) -> None:
        """A click on a row moves the cursor, a double click opens the row. On the heading: posts `HeadClicked`."""
        if event.y == 0:
            for slot in self.slots:
                if slot.x <= event.x < slot.x + slot.width:
                    self.post_message(self.HeadClicked(self, slot.column.id))
            return
        index = event.y - 1 + self.scroll_offset.y
        if index < len(self.rows):
            self._go(index)
            column, cells = self.sign_of(self.rows[index])
            if any(slot.column.id == column and 0 <= event.x - slot.x < cells for slot in self.slots):
                self.post_message(self.SignClicked(self, self.rows[index]))
            elif event.chain == 2:
                self.action_open()
