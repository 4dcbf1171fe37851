"""The main screen: nodes on top, all processes below."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from backend.text import printable
from numatui.tui.paint import Paint, Piece
from numatui.tui.reading import Snapshot
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.state import state_of
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.node_panel import NodePanel
from numatui.tui.widgets.process_table import ProcessTable
from numatui.tui.widgets.table import Table


class ProcessesScreen(Screen[None]):
    """Starts everything else: process view, migration."""

    BINDINGS: ClassVar = [
        Binding("m,f9", "migrate", "Migrate", key_display="m"),
        Binding("a", "advice", "Advice"),
        Binding("slash,f4,f3", "filter", "Filter", key_display="/"),
        Binding("escape", "clear", "Clear filter and tags", show=False),
        Binding("n,f2", "nodes", "Show or hide the nodes", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield Header()
        yield NodePanel(id="nodes")
        with Horizontal(id="bar"):
            yield Static(id="status", markup=False)
            yield Static("/", id="slash", markup=False)
            yield Input(placeholder="pid, user or command", id="filter", compact=True, max_length=200)
        yield ProcessTable(id="table")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._edit(False)
        self.table.focus()
        self.watch(self.app, "snapshot", self._show)
        self.watch(self.app, "error", self._status)

    @property
    def table(self) -> ProcessTable:
        return self.query_one(ProcessTable)

    def _show(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.table.update(snapshot.rows, snapshot.topology)

    def on_process_table_changed(self) -> None:
        self._status()

    def _status(self, *_: object) -> None:
        listing, shown = self.table.listing, len(self.table.rows)
        total = len(listing.rows)
        pieces: list[Piece] = [
            (f" {shown} of {total}" if listing.pattern else f" {total}", "bold"),
            (" processes", "dim"),
        ]
        if state_of(self).error:
            pieces = [(" " + printable(state_of(self).error, 400), "far")]
        if listing.tagged:
            pieces.append((f"  {len(listing.tagged)} tagged", "tag"))
        if listing.pattern:
            pieces += [("  filter ", "dim"), (listing.pattern, "accent"), ("  Esc clears", "dim")]
        self.query_one("#status", Static).update(Paint.of(self.app).text(pieces))

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.push_screen(ProcessScreen(event.row.process))

    def action_migrate(self) -> None:
        rows = self.table.chosen()
        if not rows:
            state_of(self).tell("no process to migrate", severity="warning")
            return
        self.app.push_screen(MigrateScreen([row.process for row in rows]))

    def action_advice(self) -> None:
        from numatui.tui.screens.advice import AdviceScreen

        self.app.push_screen(AdviceScreen())

    def action_filter(self) -> None:
        self._edit(True)

    def action_clear(self) -> None:
        if self.query_one(Input).value:
            self.query_one(Input).value = ""
        elif not self.query_one(Input).has_focus:
            self.table.action_untag()
        self._edit(False)

    def action_nodes(self) -> None:
        panel = self.query_one(NodePanel)
        panel.display = not panel.display

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.filter(event.value)

    def on_input_submitted(self) -> None:
        self._edit(False)

    def on_descendant_blur(self) -> None:
        if not self.query_one(Input).has_focus:
            self.query_one("#bar").remove_class("editing")

    def _edit(self, editing: bool) -> None:
        """Show the input line in place of the status, or the other way round."""
        self.query_one("#bar").set_class(editing, "editing")
        self.query_one(Input).can_focus = editing
        (self.query_one(Input) if editing else self.table).focus()
