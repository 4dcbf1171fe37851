"""Which memory of a process is used: by address and time, on which nodes, while it is watched."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.files.text import printable
from backend.heat.grid import MappingHeat, by_mapping
from backend.heat.heat import Heat
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.process.process import Process
from numatui.shell import migrate_command
from numatui.tui.keys import bindings
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.heat_map import heat_columns, heat_map, summary
from numatui.tui.paint.paint import Piece
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.lines import lines_of
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table

_WINDOW = 1.0
"""Seconds."""
_KEPT = 200
"""Windows that are kept."""


@dataclass
class HeatSeen(Message):
    """What was used in a window. `at`: nanoseconds of the kernel's clock."""

    at: int
    heat: Heat


@dataclass
class HeatEnded(Message):
    """Nothing more is seen, and why."""

    problem: str


class HeatTable(Table[MappingHeat]):
    """The mappings of which something is used, those with the most first."""

    def key_of(self, row: MappingHeat) -> Hashable:
        return row.start


class HeatScreen(Screen[None]):
    """Watches the process in a thread for as long as it is open: what that leaves in the kernel goes with it."""

    BINDINGS: ClassVar = bindings("heat")

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.problem = ""
        self.past: list[tuple[int, Heat]] = []
        self._stop = threading.Event()
        self._columns: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="who", markup=False)
        yield Static(id="map", markup=False)
        yield HeatTable(id="mappings", empty="  watching …")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(HeatTable).focus()
        self._show()
        self._watch()

    def on_unmount(self) -> None:
        self._stop.set()

    def on_resize(self) -> None:
        self._show()

    @work(thread=True, group="heat", exit_on_error=False)
    def _watch(self) -> None:
        from backend.heat.learn import keep_watching

        kernel = state_of(self).kernel
        try:
            watching = keep_watching(kernel, read_topology(kernel), self.process, _WINDOW, self._stop)
            for heat in watching:
                if self._stop.is_set():
                    watching.close()
                    return
                self.post_message(HeatSeen(kernel.clock(), heat))
        except Exception as exc:
            if not self._stop.is_set():
                self.post_message(HeatEnded(problem_of(exc)))

    def on_heat_seen(self, event: HeatSeen) -> None:
        self.past = [*self.past[-_KEPT + 1 :], (event.at, event.heat)]
        self._show()

    def on_heat_ended(self, event: HeatEnded) -> None:
        self.problem = event.problem
        self._show()

    def _show(self) -> None:
        snapshot: Snapshot | None = state_of(self).snapshot
        width, marks, plain = self.size.width, glyphs(), self.app.no_color
        places: dict[int, float] = {}
        if snapshot is not None:
            row = next((one for one in snapshot.rows if one.process.identity == self.process.identity), None)
            places = row.places if row is not None else {}
        name = printable(self.process.command, max(10, width - 12))
        lines: list[list[Piece]] = [[(f" {self.process.pid} ", "bold"), (name, "")]]
        if self.past:
            lines += summary(self.past[-1][1], places, width, marks, plain)
        if self.problem:
            lines.append([(" ! ", "far"), (printable(self.problem, 300), "warn")])
        self.query_one("#who", Static).update(lines_of(self, lines))
        mappings = self._mappings()
        table = min(len(mappings) + 2, self.size.height // 3)
        height = max(2, self.size.height - len(lines) - table - 5)
        cells = heat_map(self.past, places, width, height, marks, plain)
        self.query_one("#map", Static).update(lines_of(self, cells, filled=True))
        self._show_table(mappings, places, snapshot)

    def _mappings(self) -> list[MappingHeat]:
        found = by_mapping(self.past[-1][1].ranges) if self.past else []
        return sorted((one for one in found if one.hot), key=lambda one: (-one.hot, one.start))

    def _show_table(self, mappings: list[MappingHeat], places: dict[int, float], snapshot: Snapshot | None) -> None:
        table = self.query_one(HeatTable)
        table.empty = "  nothing is used" if self.past else "  watching …"
        ids = tuple(snapshot.topology.memory_ids) if snapshot is not None else ()
        known = (ids, tuple(places))
        table.show(mappings, None if known == self._columns and table.columns else heat_columns(ids, places))
        self._columns = known

    def action_copy(self) -> None:
        """The command that moves what is used to where the process runs."""
        heat = self.past[-1][1] if self.past else None
        snapshot: Snapshot | None = state_of(self).snapshot
        if heat is None or snapshot is None:
            state_of(self).tell("nothing has been seen yet", severity="warning")
            return
        here = snapshot.topology.node_of_cpu.get(self.process.cpu)
        targets = NodeSet([] if here is None else [here]) & snapshot.topology.memory_ids
        if not targets:
            state_of(self).tell("there is no memory where it runs", severity="warning")
            return
        sources = snapshot.topology.memory_ids - targets
        state_of(self).copy(migrate_command(state_of(self).kernel, [self.process.pid], sources, targets, "--hot"))

    def action_leave(self) -> None:
        self.dismiss(None)
