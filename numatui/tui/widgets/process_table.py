"""The process table: sorting, filtering, trees, groups and tagging on top of `Table`."""

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
from numatui.tui.paint.column import Column
from numatui.tui.paint.columns import DEFAULT, process_columns
from numatui.tui.widgets.table import Table

_LONGEST_PID = 7


class ProcessTable(Table[ProcessRow]):
    """Shows a `Listing`. Posts `Changed` when what is shown, its order or the tags became others. `chosen_columns`:
    which are shown where there is room."""

    BINDINGS: ClassVar = bindings("process-table")

    class Changed(Message):
        """Other rows, another order, or other tags."""

    class FollowedGone(Message):
        """The process that was followed has ended."""

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
        """A new reading."""
        followed = self.listing.followed
        self.listing.read(rows, extent)
        self.topology = topology
        if followed is not None and self.listing.followed is None:
            self.post_message(self.FollowedGone(followed))
        self.arrange()

    def filter(self, text: str) -> None:
        """Show only what this says (`numatui.tui.model.filtering`)."""
        if self.topology is not None:
            self.listing.filter = Filter.parse(text, self.topology)
            self.arrange()

    def chosen(self) -> list[ProcessRow]:
        """The tagged processes, or the one under the cursor."""
        return self.listing.chosen(self.current)

    def arrange(self) -> None:
        """Show the listing as it is now."""
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
        """The cursor on a process, in the middle of the table as far as that goes."""
        where = next((at for at, row in enumerate(self.rows) if row.process.identity == identity), None)
        if where is not None:
            self.cursor = where
            self.scroll_to(y=max(0, where - self.size.height // 2), animate=False, force=True)
            self._refresh_changed()

    def sortable(self) -> list[Column[ProcessRow]]:
        """The columns that can be sorted by."""
        return [column for column in self.columns if column.order is not None]

    def sort_by(self, column: str, descending: bool | None = None) -> None:
        """By this column; by it already: the other way round."""
        listing = self.listing
        if listing.sort == column and descending is None:
            listing.descending = not listing.descending
        else:
            listing.sort = column
            self.arrange()
            natural = next((one.descending for one in self.columns if one.id == column), False)
            listing.descending = natural if descending is None else descending
        self.arrange()

    def action_sort(self, column: str) -> None:
        self.sort_by(column)

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
        """A group opens and closes."""
        if isinstance(self.current, GroupRow):
            self._turn(self.current)
        else:
            super().action_open()

    def _turn(self, row: ProcessRow) -> None:
        """Open what is closed, close what is open."""
        if self.listing.fold(row, close=False) or self.listing.fold(row, close=True):
            self.arrange()

    def _go(self, index: int) -> None:
        """Whoever moves the cursor does not follow any more."""
        if self.listing.followed is not None:
            self.listing.followed = None
            self.post_message(self.Changed())
        super()._go(index)

    def find(self, text: str, step: int = 0) -> bool:
        """The cursor to the next row that fits a filter, from where it is on; `step` 1: after it, -1: before it."""
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
        """Digits go to the process whose pid they are, as they are typed."""
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
