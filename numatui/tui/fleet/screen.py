"""The fleet screen: a line a host, what is known of the one under the cursor below."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from backend.errors import NumatuiError
from backend.files.text import printable
from backend.fleet.record import find
from numatui.format import size
from numatui.tui.fleet.move_screen import FleetMoveScreen
from numatui.tui.fleet.rows import ORDERS, HostRow, shown, summary
from numatui.tui.fleet.table import columns, details
from numatui.tui.keys import bindings
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.table import Table

if TYPE_CHECKING:
    from numatui.tui.fleet.app import FleetApp


class HostTable(Table[HostRow]):
    """Posts `Moved` when the cursor or the rows in sight have changed."""

    BINDINGS: ClassVar = bindings("fleet-table")

    class Moved(Message):
        """Other rows are seen, or another one is under the cursor."""

    def key_of(self, row: HostRow) -> Hashable:
        return row.host

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def on_resize(self) -> None:
        super().on_resize()
        self.post_message(self.Moved())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Moved())

    def seen(self) -> list[HostRow]:
        """The rows in sight."""
        top = self.scroll_offset.y
        return list(self.rows[top : top + max(1, self.size.height - 1)])


class FleetScreen(Screen[None]):
    """Shows the rows of the app, which reads them."""

    BINDINGS: ClassVar = bindings("fleet")
    READING: ClassVar = (
        ("USED BY NODE", "each node's number, and how much of its memory is used; red where almost nothing is free"),
        ("LOCAL", "the share of the memory of all processes that lies where they run"),
        ("FAR", "how much lies elsewhere; of hosts that are not in sight it is looked at less often"),
        ("WAIT", "share of the last ten seconds in which some task waited for memory"),
        ("JOBS", "those under way; else how many there were, and how the last one ended"),
        ("FARTHEST", "the process with the most memory far from where it runs"),
    )

    AUTO_FOCUS: ClassVar[str | None] = "#hosts"

    def __init__(self) -> None:
        super().__init__()
        self.order, self.wanted, self.tagged = "host", "", set[str]()
        self._at = ""
        self._columns = columns(self.tagged, glyphs())

    def go_on(self, order: str, wanted: str, tagged: Collection[str], at: str) -> None:
        """As it was before a host was opened; `at`: that host. Call it before it is shown."""
        self.order, self.wanted, self._at = order, wanted, at
        self.tagged.update(tagged)

    @property
    def fleet_app(self) -> FleetApp:
        return cast("FleetApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="top", markup=False)
        with Horizontal(id="bar"):
            yield Static(id="status", markup=False)
            yield Input(id="filter", compact=True, max_length=200, placeholder="part of a host's name, web*, !db")
        yield HostTable(id="hosts", empty="  no host fits")
        yield Static(id="below", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self.query_one(HostTable).focus()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.show()
        table = self.query_one(HostTable)
        hosts = [row.host for row in table.rows]
        if self._at in hosts:
            table.action_jump(hosts.index(self._at))

    def on_screen_resume(self) -> None:
        self.show()

    def show(self) -> None:
        """What the app knows now."""
        if not self.is_mounted:
            return
        app, table = self.fleet_app, self.query_one(HostTable)
        rows = list(app.rows.values())
        table.sorted_by = (self.order, self.order not in ("host", "local", "free"))
        table.show(shown(rows, self.order, self.wanted), self._columns)
        paint = Paint.of(self.app)
        self.query_one("#top", Static).update(paint.text(self._top()), layout=False)
        self.query_one("#status", Static).update(paint.text(self._status(rows)), layout=False)
        self._look()

    def _look(self) -> None:
        table = self.query_one(HostTable)
        self.fleet_app.reader.seen = frozenset(row.host for row in table.seen())
        row = table.current
        pieces = details(row, monotonic(), self.size.width) if row is not None else []
        self.query_one("#below", Static).update(Paint.of(self.app).text(pieces))

    def _top(self) -> list[Piece]:
        app = self.fleet_app
        pieces: list[Piece] = [
            (" numatui ", "bold"),
            (" FLEET ", "remote"),
            (f" {printable(app.fleet.name, 60)}", "bold"),
        ]
        if app.fleet.sudo:
            pieces.append(("  by sudo", ""))
        if app.reader.paused:
            pieces.append(("  refresh paused", "warn"))
        elif app.reader.interval:
            pieces.append((f"  every {app.reader.interval:g} s", "dim"))
        return pieces

    def _status(self, rows: list[HostRow]) -> list[Piece]:
        found = summary(rows)
        pieces: list[Piece] = [
            (f" {found.answered}", "bold"),
            (f" of {found.hosts} host{'s' * (found.hosts != 1)}", ""),
        ]
        if found.failed:
            pieces.append((f"  {found.failed} do{'es' * (found.failed == 1)} not answer", "far"))
        if found.known:
            on = f" on {found.far_on} of {found.known}" if found.hosts > 1 else ""
            pieces += [("  far ", "dim"), (size(found.far) if found.far else "0", "bold"), (on, "dim")]
        if found.running:
            pieces.append((f"  {found.running} job{'s' * (found.running > 1)} running", "accent"))
        if self.wanted:
            seen = len(self.query_one(HostTable).rows)
            pieces += [("  filter ", "dim"), (printable(self.wanted, 60), "accent"), (f" {seen} shown", "dim")]
        if self.tagged:
            shown_hosts = {row.host for row in self.query_one(HostTable).rows}
            hidden = len(self.tagged - shown_hosts)
            pieces.append((f"  {len(self.tagged)} tagged" + (f", {hidden} not shown" if hidden else ""), "tag"))
        pieces.append((f"  by {self.order}", "dim"))
        return pieces

    def on_host_table_moved(self) -> None:
        self._look()

    def on_table_opened(self, event: Table.Opened) -> None:
        row: HostRow = event.row
        self.fleet_app.open_host(row.host)

    def chosen(self) -> list[str]:
        """The tagged hosts, in their order; without tags the one under the cursor."""
        row = self.query_one(HostTable).current
        if self.tagged:
            return [host for host in self.fleet_app.rows if host in self.tagged]
        return [row.host] if row is not None else []

    def action_tag(self) -> None:
        table = self.query_one(HostTable)
        if table.current is not None:
            host = table.current.host
            (self.tagged.discard if host in self.tagged else self.tagged.add)(host)
            self.show()
            table.action_move(1)

    def action_tag_all(self) -> None:
        """Those that are shown."""
        self.tagged.update(row.host for row in self.query_one(HostTable).rows)
        self.show()

    def action_untag(self) -> None:
        self.tagged.clear()
        self.show()

    def action_order(self, step: int) -> None:
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + step) % len(names)]
        self.show()

    def on_table_head_clicked(self, event: Table.HeadClicked) -> None:
        if event.column in ORDERS:
            self.order = event.column
            self.show()

    def action_migrate(self) -> None:
        hosts = self.chosen()
        if not hosts:
            self.fleet_app.tell("no host to move on", severity="warning")
        else:
            self.app.push_screen(FleetMoveScreen(self.fleet_app.fleet, hosts))

    def action_undo(self) -> None:
        try:
            self.app.push_screen(FleetMoveScreen(self.fleet_app.fleet, [], find(None)))
        except (NumatuiError, OSError) as exc:
            self.fleet_app.tell(str(exc), severity="warning")

    def action_edit(self) -> None:
        field = self.query_one(Input)
        field.display, self.query_one("#status").display = True, False
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.wanted = event.value
        self.show()

    def on_input_submitted(self) -> None:
        self._end_edit()

    def _end_edit(self) -> None:
        self.query_one(Input).display, self.query_one("#status").display = False, True
        self.query_one(HostTable).focus()

    def action_clear(self) -> None:
        """One thing at a time: the filter, then the tags."""
        if self.query_one(Input).display or self.wanted:
            self.query_one(Input).value = ""
            self._end_edit()
        else:
            self.action_untag()
