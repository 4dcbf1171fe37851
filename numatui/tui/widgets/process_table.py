"""The process table: `Table` with sorting, filters, trees, groups and tags."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual import events
from textual.message import Message

from backend.machine.topology import Topology
from backend.placement.survey import ProcessRow
from backend.process.process import Identity
from numatui.tui.keys import bindings
from numatui.tui.model.extent import Extent
from numatui.tui.model.filtering import Filter
from numatui.tui.model.groups import GROUPINGS, GroupRow
from numatui.tui.model.listing import Listing
from numatui.tui.model.scale import SCALES
from numatui.tui.paint.column import Column
from numatui.tui.paint.columns import DEFAULT, process_columns
from numatui.tui.widgets.table import Table

_LONGEST_PID = 7  # digits; PID_MAX_LIMIT is 4194304 on 64 bit (include/linux/threads.h)


class ProcessTable(Table[ProcessRow]):
    """Shows a `Listing`. Posts `Changed` when rows, order or tags have changed. `chosen_columns`: columns to show if
    there is room."""

    BINDINGS: ClassVar = bindings("process-table")

    class Changed(Message):
        """Rows, order or tags have changed."""

    class Moved(Message):
        """The cursor has moved."""

    class FollowedGone(Message):
        """The followed process has ended."""

        def __init__(self, identity: Identity) -> None:
            super().__init__()
            self.identity = identity

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, empty="  no process to show")
        self.listing = Listing()
        self.topology: Topology | None = None
        self.chosen_columns: tuple[str, ...] = DEFAULT
        self._typed = ""

    def key_of(self, row: ProcessRow) -> Hashable:
        return row.process.identity

    def sign_of(self, row: ProcessRow) -> tuple[str, int]:
        return "command", len(self.listing.prefix(row, self._glyphs)) if self.listing.hangs_below(row) else 0

    def update(self, rows: tuple[ProcessRow, ...], topology: Topology, extent: Extent | None = None) -> None:
        """Takes a new reading."""
        followed = self.listing.followed
        self.listing.read(rows, extent)
        self.topology = topology
        if followed is not None and self.listing.followed is None:
            self.post_message(self.FollowedGone(followed))
        self.arrange()

    def filter(self, text: str) -> None:
        """Shows only rows that match the filter (`numatui.tui.model.filtering`)."""
        if self.topology is not None:
            self.listing.filter = Filter.parse(text, self.topology)
            self.arrange()

    def chosen(self) -> list[ProcessRow]:
        """The tagged processes; without tags, the process under the cursor."""
        return self.listing.chosen(self.current)

    def arrange(self) -> None:
        """Shows the current state of the listing."""
        if self.topology is None:
            return
        listing = self.listing
        columns = process_columns(listing, self.topology, self._glyphs, self.app.no_color, self.chosen_columns)
        order = next((column.order for column in columns if column.id == listing.sort), None)
        self.sorted_by = (listing.sort, listing.descending)
        shape = [(column.id, column.width, column.most) for column in columns]
        same = shape == [(column.id, column.width, column.most) for column in self.columns]
        self.show(listing.view(order), None if same else columns)
        if listing.followed is not None:
            self._center(listing.followed)
        self.post_message(self.Changed())

    def _center(self, identity: Identity) -> None:
        """Puts the cursor on a process and scrolls it to the middle of the table, if possible."""
        where = next((at for at, row in enumerate(self.rows) if row.process.identity == identity), None)
        if where is not None:
            self.cursor = where
            self.scroll_to(y=max(0, where - self.size.height // 2), animate=False, force=True)
            self._refresh_changed()

    def sortable(self) -> list[Column[ProcessRow]]:
        """The columns with a sort key."""
        return [column for column in self.columns if column.order is not None]

    def sort_by(self, column: str, descending: bool | None = None, turn: bool = True) -> None:
        """Sorts by a column. If the table is sorted by it already, reverses the order (`turn`)."""
        listing = self.listing
        if listing.sort == column and descending is None and turn:
            listing.descending = not listing.descending
        else:
            listing.sort = column
            self.arrange()
            natural = next((one.descending for one in self.columns if one.id == column), False)
            listing.descending = natural if descending is None else descending
        self.arrange()

    def action_sort(self, column: str) -> None:
        """A letter always gives the same order, as in htop: the largest first, pids ascending. `I` turns it."""
        self.sort_by(column, turn=False)

    def action_sort_next(self, step: int) -> None:
        columns = [slot.column.id for slot in self.slots if slot.column.order is not None]
        if columns:
            here = columns.index(self.listing.sort) if self.listing.sort in columns else -step
            self.sort_by(columns[(here + step) % len(columns)])

    def action_invert(self) -> None:
        self.listing.descending = not self.listing.descending
        self.arrange()

    def action_tree(self) -> None:
        self.listing.tree, self.listing.grouping = not self.listing.tree or bool(self.listing.grouping), ""
        self.arrange()

    def action_group(self) -> None:
        listing = self.listing
        listing.grouping = GROUPINGS[(GROUPINGS.index(listing.grouping) + 1) % len(GROUPINGS)]
        self.arrange()

    def action_fold(self, close: bool) -> None:
        if self.current is not None and self.listing.fold(self.current, close):
            self.arrange()

    def action_small(self) -> None:
        self.listing.hide_small = not self.listing.hide_small
        self.arrange()

    def action_bars(self) -> None:
        self.listing.scale = SCALES[(SCALES.index(self.listing.scale) + 1) % len(SCALES)]
        self.arrange()

    def action_follow(self) -> None:
        listing, current = self.listing, self.current
        if listing.followed is not None or current is None or isinstance(current, GroupRow):
            listing.followed = None
        else:
            listing.followed = current.process.identity
        self.arrange()

    def action_tag(self) -> None:
        if self.current is not None:
            self.listing.toggle(self.current)
            self.action_move(1)
            self.post_message(self.Changed())

    def action_untag(self) -> None:
        self.listing.tagged.clear()
        self._refresh_changed()
        self.post_message(self.Changed())

    def action_open(self) -> None:
        """Opens or closes a group; opens the screen of a process."""
        if isinstance(self.current, GroupRow):
            self._turn(self.current)
        else:
            super().action_open()

    def _turn(self, row: ProcessRow) -> None:
        """Opens a closed row, closes an open row."""
        if self.listing.fold(row, close=False) or self.listing.fold(row, close=True):
            self.arrange()

    def _go(self, index: int) -> None:
        """Moves the cursor, which ends following."""
        if self.listing.followed is not None:
            self.listing.followed = None
            self.post_message(self.Changed())
        super()._go(index)
        self.post_message(self.Moved())

    def find(self, text: str, step: int = 0) -> bool:
        """Moves the cursor to the next match of a filter. `step` 0: from the cursor on, 1: after it, -1: before it."""
        if self.topology is None or not text or not self.rows:
            return False
        wanted, count = Filter.parse(text, self.topology), len(self.rows)
        way = step or 1
        for away in range(abs(step), count + abs(step)):
            index = (self.cursor + way * away) % count
            if wanted.fits(self.rows[index]):
                self._go(index)
                return True
        return False

    def on_key(self, event: events.Key) -> None:
        """Digits form a pid; the cursor goes to that process while they are typed."""
        if event.character is None or not event.character.isdecimal() or not event.character.isascii():
            self._typed = ""
            return
        self._typed = (self._typed + event.character)[-_LONGEST_PID:]
        event.stop()
        pid = int(self._typed)
        where = next((at for at, row in enumerate(self.rows) if row.process.pid == pid), None)
        if where is not None:
            self._go(where)

    def on_table_sign_clicked(self, event: Table.SignClicked) -> None:
        event.stop()
        self._turn(event.row)

    def on_table_head_clicked(self, event: Table.HeadClicked) -> None:
        event.stop()
        if any(column.id == event.column and column.order for column in self.columns):
            self.sort_by(event.column)
