"""The process table: sorting, filtering and tagging on top of `Table`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.binding import Binding
from textual.message import Message

from backend.survey import Row
from backend.topology import Topology
from numatui.tui.columns import process_columns
from numatui.tui.listing import Listing
from numatui.tui.widgets.table import Column, Table


class ProcessTable(Table[Row]):
    """Shows a `Listing`. Posts `Changed` when what is shown, its order or the tags became others."""

    BINDINGS: ClassVar = [
        Binding("enter", "open", "Open", key_display="Enter"),
        Binding("space", "tag", "Tag", key_display="Space"),
        Binding("U", "untag", "Untag all", show=False),
        Binding("greater_than_sign,s,f6", "sort_next(1)", "Sort", key_display="< >"),
        Binding("less_than_sign,S", "sort_next(-1)", "Sort by the column before", show=False),
        Binding("I", "invert", "Invert the order", show=False),
        Binding("M", "sort('rss')", "Sort by memory", show=False),
        Binding("P", "sort('cpu')", "Sort by processor", show=False),
        Binding("L", "sort('local')", "Sort by local share", show=False),
        Binding("F", "sort('placement')", "Sort by far memory", show=False),
        Binding("N", "sort('pid')", "Sort by pid", show=False),
    ]

    class Changed(Message):
        """Other rows, another order, or other tags."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, empty="  no process to show")
        self.listing = Listing()
        self.topology: Topology | None = None

    def key_of(self, row: Row) -> Hashable:
        return row.process.identity

    def update(self, rows: tuple[Row, ...], topology: Topology) -> None:
        """A new reading."""
        self.listing.read(rows)
        self.topology = topology
        self._arrange()

    def filter(self, pattern: str) -> None:
        """Show only what has this text."""
        self.listing.pattern = pattern
        self._arrange()

    def chosen(self) -> list[Row]:
        """The tagged processes, or the one under the cursor."""
        return self.listing.chosen(self.current)

    def _arrange(self) -> None:
        if self.topology is None:
            return
        listing = self.listing
        columns = process_columns(
            listing.rows, self.topology, listing.tagged, self._glyphs, self.app.no_color
        )
        order = next((column.order for column in columns if column.id == listing.sort), None)
        self.sorted_by = (listing.sort, listing.descending)
        shape = [(column.id, column.width) for column in columns]
        same = shape == [(column.id, column.width) for column in self.columns]
        self.show(listing.view(order), None if same else columns)
        self.post_message(self.Changed())

    def _sortable(self) -> list[Column[Row]]:
        return [slot.column for slot in self.slots if slot.column.order is not None]

    def action_sort(self, column: str) -> None:
        """By this column; by it already: the other way round."""
        listing = self.listing
        if listing.sort == column:
            listing.descending = not listing.descending
        else:
            listing.sort = column
            listing.descending = next((one.descending for one in self.columns if one.id == column), False)
        self._arrange()

    def action_sort_next(self, step: int) -> None:
        columns = [column.id for column in self._sortable()]
        if columns:
            here = columns.index(self.listing.sort) if self.listing.sort in columns else -step
            self.action_sort(columns[(here + step) % len(columns)])

    def action_invert(self) -> None:
        self.listing.descending = not self.listing.descending
        self._arrange()

    def action_tag(self) -> None:
        if self.current is not None:
            self.listing.toggle(self.current.process.identity)
            self.action_move(1)
            self.post_message(self.Changed())

    def action_untag(self) -> None:
        self.listing.tagged.clear()
        self._refresh_changed()
        self.post_message(self.Changed())

    def on_table_head_clicked(self, event: Table.HeadClicked) -> None:
        event.stop()
        if any(column.id == event.column and column.order for column in self.columns):
            self.action_sort(event.column)
