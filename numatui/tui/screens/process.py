"""One process: its VMAs, its threads, its history."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from backend.files.text import printable
from backend.machine.access_cost import read_costs
from backend.machine.topology import Topology
from backend.placement.locate import Shown
from backend.placement.placement import Placement, VmaPlacement, weighted_local_share
from backend.placement.survey import ProcessRow
from backend.process.process import Process, Stat
from numatui.format import duration, percent, size
from numatui.tui.keys import bindings
from numatui.tui.model.access import access_of
from numatui.tui.paint import bars
from numatui.tui.paint.access_matrix import access_matrix
from numatui.tui.paint.cells import tail
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.graphs.history_area import history_area
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.process_reader import ProcessLook, ProcessReader
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.heat import HeatScreen
from numatui.tui.screens.lines import lines_of
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process_control import ProcessControl
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table

_TALL = 34
"""Lines of the screen from which threads and history are both shown."""
_LEAST, _MOST = 6, 14
"""Lines of history and matrix."""
_MATRIX = 52
"""Least cells of the matrix, for its heading."""
_BESIDE = 100
"""Cells from which history and matrix are side by side."""


@dataclass
class ProcessRead(Message):
    """The process was read."""

    look: ProcessLook


class VmaTable(Table[VmaPlacement]):
    """The VMAs, by address."""

    def key_of(self, row: VmaPlacement) -> Hashable:
        return row.start


class ThreadTable(Table[Stat]):
    """The threads, by thread id."""

    def key_of(self, row: Stat) -> Hashable:
        return row.identity


class ProcessScreen(ProcessControl):
    """Reads the process after every reading of the app, in a thread."""

    BINDINGS: ClassVar = bindings("process")

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.with_empty = False
        self.with_history = False
        self.last: ProcessLook | None = None
        self._reading = False
        self._reader: ProcessReader | None = None

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="who", markup=False)
        yield VmaTable(id="vmas", empty="  no VMA has a resident page")
        with Horizontal(id="past"):
            yield Static(id="history", markup=False)
            yield Static(id="matrix", markup=False)
        yield ThreadTable(id="threads")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(VmaTable).focus()
        self.watch(self.app, "snapshot", self._snapshot)

    def controlled(self) -> list[Process]:
        return [self.process]

    def _snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and not self._reading:
            self._reading = True
            self._read()

    @work(thread=True, group="process", exit_on_error=False)
    def _read(self) -> None:
        state = state_of(self)
        self._reader = self._reader or ProcessReader(state.kernel, self.process)
        snapshot: Snapshot | None = state.snapshot
        self.post_message(ProcessRead(self._reader.look(snapshot.topology if snapshot is not None else None)))

    def on_process_read(self, event: ProcessRead) -> None:
        self._reading = False
        look = event.look
        if look.process is not None:
            self.process, self.last = look.process, look
        self._show(look.problem)

    def _show(self, problem: str = "") -> None:
        snapshot: Snapshot | None = state_of(self).snapshot
        if snapshot is None:
            return
        marks, plain, topology = glyphs(), self.app.no_color, snapshot.topology
        look = self.last or ProcessLook(None)
        shown = look.shown
        placement = shown.placement
        row = next((one for one in snapshot.rows if one.process.identity == self.process.identity), None)
        here = topology.node_of_cpu.get(self.process.cpu)
        places = row.places if row is not None else {} if here is None else {here: 1.0}
        pieces = describe(self.process, placement, topology, places, self.size.width, marks, plain)
        if shown.way not in ("", "numa_maps"):
            pieces += [("  " + how(shown, state_of(self).kernel.clock() - look.read_at), "dim")]
        if problem:
            pieces += [("\n ! ", "far"), (printable(problem, 300), "warn")]
        self.query_one("#who", Static).update(Paint.of(self.app).text(pieces))
        vmas = [vma for vma in placement.vmas if vma.pages or self.with_empty]
        here = topology.node_of_cpu.get(self.process.cpu)
        table, threads = self.query_one(VmaTable), self.query_one(ThreadTable)
        longest = max([10, *(len(vma.file) for vma in vmas)])
        table.show(vmas, vma_columns(topology, here, marks, plain, shown.way == "sampled", min(48, longest)))
        rows = look.threads
        threads.show(rows, None if threads.columns else thread_columns(topology))
        threads.styles.height = max(2, min(len(rows) + 1, self.size.height // 4))
        self._show_past(snapshot, row)

    def _show_past(self, snapshot: Snapshot, row: ProcessRow | None) -> None:
        """Shows threads, history and matrix on a tall screen, else the threads or the other two. Where all are shown,
        `i` hides history and matrix."""
        tall, width = self.size.height >= _TALL, self.size.width
        self.query_one("#past").display = self.with_history != tall
        self.query_one(ThreadTable).display = tall or not self.with_history
        height = max(_LEAST, min(_MOST, self.size.height // 4))
        access = access_of([] if row is None else [row])
        side = min(width // 2, max(_MATRIX, 12 + 6 * len(access.holding))) if width >= _BESIDE else 0
        moments = snapshot.history.get(self.process.identity, ())
        past = history_area(moments, snapshot.at, width - side - 1, height, glyphs(), self.app.no_color)
        matrix = access_matrix(access, read_costs(snapshot.topology), side, height) if side else []
        right = self.query_one("#matrix", Static)
        right.styles.width = side
        self.query_one("#history", Static).update(lines_of(self, past))
        right.update(lines_of(self, matrix))

    def action_empty(self) -> None:
        self.with_empty = not self.with_empty
        self._show()

    def action_migrate(self) -> None:
        self.app.push_screen(MigrateScreen([self.process]))

    def action_migrate_vma(self) -> None:
        vma = self.query_one(VmaTable).current
        if vma is None or not vma.pages:
            state_of(self).tell("this VMA has no pages to migrate", severity="warning")
            return
        self.app.push_screen(MigrateScreen([self.process], vma=vma))

    def action_heat(self) -> None:
        self.app.push_screen(HeatScreen(self.process))

    def action_history(self) -> None:
        self.with_history = not self.with_history
        self._show()

    def action_sharers(self) -> None:
        vma = self.query_one(VmaTable).current
        if vma is not None:
            self._find_sharers(vma)

    @work(thread=True, group="sharers", exclusive=True, exit_on_error=False)
    def _find_sharers(self, vma: VmaPlacement) -> None:
        """Finds who shares the mapping. Reads the maps of all processes, so it runs only on request."""
        from backend.placement.sharers import find_sharers

        try:
            found = find_sharers(state_of(self).kernel, self.process.pid, [vma])
        except Exception as exc:
            self.app.call_from_thread(state_of(self).tell, problem_of(exc), severity="error")
            return
        self.app.call_from_thread(self._show_sharers, vma, found)

    def _show_sharers(self, vma: VmaPlacement, found: list[tuple[int, str]]) -> None:
        name = f"{vma.kind} at {vma.start:x}"
        if not found:
            state_of(self).tell(f"nobody else maps the {name}, as far as you may see")
            return
        choices = [(str(pid), f"{pid:>8}  {name}") for pid, name in found]

        def chosen(pid: str | None) -> None:
            rows = state_of(self).snapshot.rows
            row = next((one for one in rows if str(one.process.pid) == pid), None)
            if row is not None:
                self.app.push_screen(ProcessScreen(row.process))

        self.app.push_screen(Chooser(f"The {name} is mapped by these too", choices), chosen)

    def action_leave(self) -> None:
        self.dismiss(None)


def describe(
    process: Process,
    placement: Placement,
    topology: Topology,
    places: dict[int, float],
    width: int,
    glyphs: Glyphs,
    plain: bool,
) -> list[Piece]:
    """Three lines: identity; where it runs and may run; placement of its memory. `places`: node → share of its running
    time."""
    here = topology.node_of_cpu.get(process.cpu)
    by_node = placement.bytes_by_node
    share = weighted_local_share(by_node, places)
    allowed = f", may use memory of {process.mems_allowed}" if process.mems_allowed else ""
    cpus = f", CPUs {process.cpus_allowed}" if process.cpus_allowed else ""
    room = max(10, min(60, width - 30))
    return [
        (f" {process.pid} ", "bold"), (printable(process.user, 20), "key"),
        ("  " + printable(process.command, max(10, width - 32)) + "\n", ""),
        (f" on CPU {process.cpu}, node {'?' if here is None else here}", "bold"),
        (printable(f"{allowed}{cpus}, cpuset {process.cpuset}", max(20, width - 28)) + "\n ", "dim"),
        *bars.placement(by_node, here, room, glyphs, plain),
        (f"  {size(sum(by_node.values()))}", "bold"), ("  local ", "dim"),
        (percent(share), "far" if share is not None and share < 0.5 else ""),
    ]  # fmt: skip


def how(shown: Shown, age: int) -> str:
    """Source, error and age of the numbers. `age`: nanoseconds."""
    text = "by pagemap"
    if shown.way == "sampled":
        text = f"sampled, a node within {size(max(shown.error.values(), default=0))}"
        text += "; NUMA balancing hides pages" if shown.hidden else ""
    return text + (f", {duration(age / 1e9)} ago" if age >= 1_000_000_000 else "")


def vma_columns(
    topology: Topology, here: int | None, glyphs: Glyphs, plain: bool, about: bool = False, name: int = 48
) -> list[Column[VmaPlacement]]:
    """The columns of the VMAs for a process that runs on `here`. `about`: the numbers are estimates. `name`: cells of
    the longest file name."""

    def bar(vma: VmaPlacement, width: int) -> list[Piece]:
        return bars.placement(vma.bytes_by_node, here, width, glyphs, plain)

    def on(node: int):
        def cell(vma: VmaPlacement, _: int) -> Piece:
            amount = vma.pages.get(node, 0) * vma.page_size
            mark = "~" if about and amount else ""
            return (mark + size(amount), "dim" if not amount else f"ink:{node}" if node == here else "")

        return cell

    def policy(vma: VmaPlacement, width: int) -> Piece:
        return (printable(vma.policy or "?", width + 1), "dim" if vma.policy == "default" else "")

    return [
        Column("start", "ADDRESS", 12, lambda vma, _: f"{vma.start:x}", "right", most=16),
        Column("kind", "KIND", 6, lambda vma, _: vma.kind),
        Column("policy", "POLICY", 8, policy, rank=3, most=16),
        Column("page", "PAGE", 4, lambda vma, _: size(vma.page_size), "right", rank=2),
        Column("size", "HERE", 5, lambda vma, _: size(sum(vma.bytes_by_node.values())), "right"),
        *[Column(f"n{node}", f"N{node}", 5 + about, on(node), "right", rank=4) for node in topology.memory_ids],
        Column("placement", "PLACEMENT", 10, bar, rank=1, most=48),
        Column("file", "FILE", 10, lambda vma, width: tail(printable(vma.file, 4096), width), most=name),
    ]


def thread_columns(topology: Topology) -> list[Column[Stat]]:
    """The columns of the threads."""

    def where(thread: Stat, _: int) -> str:
        node = topology.node_of_cpu.get(thread.cpu)
        return f"{thread.cpu}@{'?' if node is None else node}"

    return [
        Column("tid", "THREAD", 8, lambda thread, _: str(thread.identity.pid), "right"),
        Column("cpu", "CPU@N", 7, where, "right"),
        Column("state", "STATE", 5, lambda thread, _: printable(thread.state, 4)),
        Column("name", "NAME", 16, lambda thread, width: printable(thread.comm, width + 1), most=200),
    ]
