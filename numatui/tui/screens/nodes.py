"""The nodes: memory, load, allocations, distances. Keys lead to the processes of a node."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.machine.access_cost import read_costs
from backend.machine.memory_tiers import read_tiers
from backend.plan.rates import best_rates, machine_of, own_rates
from numatui.tui.keys import bindings
from numatui.tui.model.access import Access, access_of
from numatui.tui.paint.access_matrix import access_matrix
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.node_detail import machine_line, node_detail
from numatui.tui.paint.node_table import NodeRow, node_columns, node_rows
from numatui.tui.paint.paint import Paint
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.lines import lines_of
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.matrix import Matrix
from numatui.tui.widgets.table import Table

_WIDE = 110  # cells from which detail and distances fit side by side
_AROUND = 6  # lines of the screen beside the table and the detail


@dataclass(frozen=True)
class Beside:
    """Data that only this screen reads. `rates`: (source, target) → bytes a second, measured by `numatui bench`.
    `access`: of all processes, added up from the reading."""

    tiers: dict[int, int] = field(default_factory=dict[int, int])
    rates: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    access: Access = field(default_factory=lambda: access_of(()))


@dataclass
class BesideRead(Message):
    """`Beside` was read."""

    beside: Beside


class NodeTable(Table[NodeRow]):
    """Posts `Moved` when the cursor has moved to another node."""

    class Moved(Message):
        """The cursor has moved."""

    BINDINGS: ClassVar = bindings("node-table")

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def key_of(self, row: NodeRow) -> Hashable:
        return row.node.id


class NodesScreen(Screen[None]):
    """Shows the app's readings and `Beside`."""

    BINDINGS: ClassVar = bindings("nodes")
    READING: ClassVar = (
        (
            "MEMORY",
            "what it is used for: a anonymous, f files, s shared or kernel objects, h hugetlb, k kernel, o other, "
            "then free",
        ),
        ("FREE", "! marks less than one and a half times the low watermark"),
        (
            "HIT/s",
            "pages allocated here as meant, a second; MISS/s here but meant for another node, OUT/s meant for here "
            "but elsewhere",
        ),
        ("OTHER/s", "allocated here by processes that run on other nodes"),
        ("distances", "rows: from the CPUs of, columns: to the memory of; shaded from near to far"),
        (
            "Threads × memory",
            "rows: where threads run, columns: where their memory lies, as shares of all accesses if all memory is "
            "used alike; the shade is the time that is lost by their distance",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.beside = Beside()
        self.rows: list[NodeRow] = []
        self.matrix_only = False
        self.as_measured = False

    def compose(self) -> ComposeResult:
        yield Header()
        yield NodeTable(id="table")
        yield Static(id="machine", markup=False)
        with Horizontal():
            with VerticalScroll(can_focus=False, id="about"):
                yield Static(id="detail", markup=False)
            with Vertical(id="right"):
                yield Matrix(id="matrix")
                yield Static(id="access", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(NodeTable).focus()
        self.watch(self.app, "snapshot", self._snapshot)

    def on_resize(self) -> None:
        self._show()

    def _snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._read(snapshot)
            self._show()

    @work(thread=True, group="nodes", exclusive=True, exit_on_error=False)
    def _read(self, snapshot: Snapshot) -> None:
        kernel = state_of(self).kernel
        try:
            measured = kernel.traits.keeps_jobs
            rates = own_rates(machine_of(kernel, snapshot.topology), kernel.files) if measured else []
            beside = Beside(read_tiers(kernel), best_rates(rates, "auto"), access_of(snapshot.rows))
        except Exception as exc:
            self.app.call_from_thread(state_of(self).tell, problem_of(exc), severity="error")
            return
        self.post_message(BesideRead(beside))

    def on_beside_read(self, event: BesideRead) -> None:
        if event.beside != self.beside:
            self.beside = event.beside
            self._show()

    def on_node_table_moved(self) -> None:
        self._show_one()

    def on_table_opened(self) -> None:
        self._filter("node")

    def _show(self) -> None:
        state = state_of(self)
        snapshot: Snapshot | None = state.snapshot
        if snapshot is None:
            return
        activity = snapshot.activity
        self.rows = node_rows(
            snapshot.topology,
            dict(activity.busy),
            {node: dict(rates) for node, rates in activity.rates.items()},
            self.beside.tiers,
            state.kernel.page_size,
        )
        table = self.query_one(NodeTable)
        columns = node_columns(glyphs(), self.rows)
        table.show(self.rows, None if len(columns) == len(table.columns) else columns)
        table.styles.height = min(len(self.rows) + 1, max(4, self.size.height // 3))
        line = machine_line(activity.machine, snapshot.pressure.get("memory"), snapshot.balancing)
        self.query_one("#machine", Static).update(Paint.of(self.app).text(line))
        self._show_one()

    def _show_one(self) -> None:
        """Shows the node under the cursor and the distances: side by side on a wide screen, else one of them."""
        row, state = self.query_one(NodeTable).current, state_of(self)
        if row is None or state.snapshot is None:
            return
        both = self.size.width >= _WIDE
        about, right = self.query_one("#about"), self.query_one("#right")
        about.display, right.display = both or not self.matrix_only, both or self.matrix_only
        width = self.size.width - (self.size.width // 2 if both else 2)
        past, node = state.node_history, row.node.id
        height = self.size.height - self.query_one(NodeTable).outer_size.height - _AROUND
        pieces = node_detail(row, past.of(node), width, glyphs(), past.most.get(node, {}), height)
        self.query_one("#detail", Static).update(Paint.of(self.app).text(pieces))
        self._show_matrices(state.snapshot, node)

    def _show_matrices(self, snapshot: Snapshot, here: int) -> None:
        """Distances or measured rates; below, where threads run against where memory lies, on the whole machine."""
        topology, matrix = snapshot.topology, self.query_one(Matrix)
        ids = list(topology.ids)
        if self.as_measured and self.beside.rates:
            rates = {pair: rate / 2**20 for pair, rate in self.beside.rates.items()}
            matrix.show("MiB/s of migration, as measured (b: distances)", ids, rates, here, more_is_worse=False)
        else:
            distances = {(a, b): float(topology.distance(a, b)) for a in ids for b in ids}
            more = " (b: as measured)" if self.beside.rates else ""
            matrix.show(f"distances, as the firmware tells{more}", ids, distances, here)
        matrix.styles.height = min(len(ids) + 3, max(4, self.size.height // 3))
        access = self.query_one("#access", Static)
        lines = access_matrix(self.beside.access, read_costs(topology), self.size.width // 2, len(ids) + 2)
        access.update(lines_of(self, lines))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.size.width < _WIDE if action == "other_pane" else True

    def action_other_pane(self) -> None:
        self.matrix_only = not self.matrix_only
        self._show_one()

    def action_measured(self) -> None:
        if not self.beside.rates:
            state_of(self).tell("Nothing was measured here yet: numatui bench does that.")
        self.as_measured = not self.as_measured
        self._show_one()

    def action_running(self) -> None:
        self._filter("on")

    def _filter(self, word: str) -> None:
        row = self.query_one(NodeTable).current
        main = next((one for one in self.app.screen_stack if isinstance(one, ProcessesScreen)), None)
        if row is not None and main is not None:
            main.filter_by(f"{word}:{row.node.id}", back="nodes")
            state_of(self).back_to(main)

    def action_leave(self) -> None:
        self.dismiss(None)
