"""Cgroups and cpusets as a tree: memory by node and outside of the cpuset; changes of mems and processes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from backend.cgroup.cgroup_memory import survey
from backend.cgroup.cgroup_names import label
from backend.cgroup.cgroups import find_hierarchies, members
from backend.cgroup.cpuset_tree import CpusetTree, pids_in, read_cpusets
from backend.errors import NotFound, NotSupported, NumatuiError
from backend.files.text import printable
from backend.kernel import Kernel
from backend.process.process import Process
from numatui.process_tree import Branch
from numatui.tui.keys import bindings
from numatui.tui.model.filtering import quoted
from numatui.tui.paint.cgroup_table import ORDERS, CgroupRow, cgroup_branches, cgroup_columns, lead_of
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.dialogs.cpuset_change import CpusetChangeScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.short_input import ShortInput
from numatui.tui.widgets.table import Table


@dataclass
class CgroupsRead(Message):
    """All cgroups, or the error."""

    rows: list[CgroupRow]
    problem: str = ""


class CgroupTable(Table[CgroupRow]):
    """A tree that opens and closes. `branches`: the visible branches, by path."""

    BINDINGS: ClassVar = bindings("cgroup-table")
    branches: Mapping[str, Branch[CgroupRow]] = MappingProxyType({})

    def key_of(self, row: CgroupRow) -> Hashable:
        return row.path

    def sign_of(self, row: CgroupRow) -> tuple[str, int]:
        branch = self.branches.get(row.path)
        return "name", len(lead_of(branch)) if branch and branch.children else 0


class CgroupsScreen(Screen[None]):
    """Reads all cgroups after every reading of the app, in a thread."""

    BINDINGS: ClassVar = bindings("cgroups")
    READING: ClassVar = (
        ("MEMORY", "anonymous memory and files, with all that is below, from the kernel's own sums"),
        ("MEMS", "nodes that its processes may use; dim where the cpuset above decides"),
        ("OUTSIDE", "memory on nodes that it may not use any more, marked with !"),
        ("PROCS", "processes in it, without those below"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[CgroupRow] = []
        self.problem = ""
        self.order = "memory"
        self.closed: set[str] = set()
        self.wanted = ""
        self._busy = False

    def compose(self) -> ComposeResult:
        yield Header()
        with Horizontal(id="bar"):
            yield Static(id="status", markup=False)
            yield ShortInput(id="filter", compact=True, max_length=200, placeholder="part of a name or path")
        yield CgroupTable(id="cgroups", empty="  reading …")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self.query_one(CgroupTable).focus()
        self.watch(self.app, "snapshot", self._snapshot)

    def _snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and not self._busy:
            self._busy = True
            self._read()

    @work(thread=True, group="cgroups", exit_on_error=False)
    def _read(self) -> None:
        try:
            self.post_message(CgroupsRead(read_rows(state_of(self).kernel)))
        except Exception as exc:
            self.post_message(CgroupsRead([], problem_of(exc)))

    def on_cgroups_read(self, event: CgroupsRead) -> None:
        self._busy = False
        self.rows = event.rows or self.rows
        self.problem = event.problem
        self._show()

    def _show(self) -> None:
        state, table = state_of(self), self.query_one(CgroupTable)
        branches = cgroup_branches(self.rows, self.order, self.closed, self.wanted)
        table.branches = by_path = {branch.row.path: branch for branch in branches}
        nodes = state.snapshot.topology.memory_ids if state.snapshot is not None else None
        columns: list[Column[CgroupRow]] = (
            cgroup_columns(by_path, nodes, glyphs(), self.app.no_color) if nodes is not None else []
        )
        table.empty = "  no cgroup to show" if not self.problem else "  "
        table.sorted_by = (
            {"memory": "memory", "outside": "outside"}.get(self.order, self.order),
            self.order != "name",
        )
        table.show([branch.row for branch in branches], columns)
        pieces: list[Piece] = [
            (f" {len(self.rows)}", "bold"),
            (" cgroup" if len(self.rows) == 1 else " cgroups", "dim"),
            (f"  by {self.order}", "dim"),
        ]
        if self.wanted:
            pieces += [("  filter ", "dim"), (printable(self.wanted, 80), "accent")]
        if outside := sum(1 for row in self.rows if row.outside):
            pieces.append((f"  {outside} with memory outside of their cpusets", "far"))
        if self.problem:
            pieces = [(" " + printable(self.problem, 400), "far")]
        self.query_one("#status", Static).update(Paint.of(self.app).text(pieces))

    @property
    def current(self) -> CgroupRow | None:
        return self.query_one(CgroupTable).current

    @property
    def main(self) -> ProcessesScreen | None:
        return next((one for one in self.app.screen_stack if isinstance(one, ProcessesScreen)), None)

    def on_table_opened(self, event: Table.Opened) -> None:
        if self.main is not None:
            self.main.filter_by(f"cgroup:{quoted(event.row.path)}", back="cgroups")
            state_of(self).back_to(self.main)

    def action_fold(self, close: bool) -> None:
        row = self.current
        if row is not None:
            self._fold(row, close)

    def on_table_sign_clicked(self, event: Table.SignClicked) -> None:
        self._fold(event.row, event.row.path not in self.closed)

    def _fold(self, row: CgroupRow, close: bool) -> None:
        (self.closed.add if close else self.closed.discard)(row.path)
        self._show()

    def action_order(self) -> None:
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self._show()

    def action_migrate(self) -> None:
        row, state = self.current, state_of(self)
        if row is None or state.snapshot is None:
            return
        below = row.path.rstrip("/") + "/"
        found = [
            one.process for one in state.snapshot.rows
            if one.process.cgroup == row.path or one.process.cgroup.startswith(below)
        ]  # fmt: skip
        if found:
            self.app.push_screen(MigrateScreen(found))
        else:
            state.tell("no process is in this cgroup or below", severity="warning")

    def action_set_mems(self) -> None:
        row = self.current
        if row is not None and self._may_change():
            self.app.push_screen(CpusetChangeScreen(row.path, row.cpuset), self._changed)

    def action_attach(self) -> None:
        row = self.current
        if row is None or not self._may_change():
            return
        tagged = self._tagged()
        if not tagged:
            state_of(self).tell("tag the processes in the process table first (Space)", severity="warning")
            return
        self.app.push_screen(CpusetChangeScreen(row.path, row.cpuset, tagged), self._changed)

    def _tagged(self) -> list[Process]:
        if self.main is None:
            return []
        listing = self.main.table.listing
        return [row.process for row in listing.rows if row.process.identity in listing.tagged]

    def _may_change(self) -> bool:
        if not state_of(self).kernel.traits.writable:
            state_of(self).tell("A recording can be looked at but not changed.", severity="warning")
            return False
        return True

    def _changed(self, changed: bool | None) -> None:
        if changed:
            state_of(self).read_now(anew=True)

    def action_edit(self) -> None:
        field = self.query_one(Input)
        field.display = True
        self.query_one("#status").display = False
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.wanted = event.value
        self._show()

    def on_input_submitted(self) -> None:
        self._end_edit()

    def _end_edit(self) -> None:
        self.query_one(Input).display = False
        self.query_one("#status").display = True
        self.query_one(CgroupTable).focus()

    def action_leave(self) -> None:
        if self.query_one(Input).display or self.wanted:
            self.query_one(Input).value = ""
            self._end_edit()
        else:
            self.dismiss(None)


def read_rows(kernel: Kernel) -> list[CgroupRow]:
    """Every cgroup, parents before children. Raises NotSupported if there are no cgroups; NumatuiError."""
    names = cache(kernel.username)
    tree = _cpusets(kernel)
    out: dict[str, CgroupRow] = {}
    try:
        found = survey(kernel)
    except (NotFound, NotSupported):
        if tree is None:
            raise
    else:
        for one in found.cgroups:
            path = one.directory.path
            out[path] = CgroupRow(path, label(path, names), one, one.cpuset)
    for path, one in (tree.cpusets if tree is not None else {}).items():
        known = out.get(path) or CgroupRow(path, label(path, names), None, one)
        out[path] = replace(known, cpuset=one)
    hierarchies = find_hierarchies(kernel)
    counted = {path: replace(row, processes=_count(kernel, tree, hierarchies, path)) for path, row in out.items()}
    return sorted(counted.values(), key=lambda row: row.path)


def _cpusets(kernel: Kernel) -> CpusetTree | None:
    try:
        return read_cpusets(kernel)
    except NumatuiError:
        return None


def _count(kernel: Kernel, tree: CpusetTree | None, hierarchies: list, path: str) -> int | None:
    for hierarchy in hierarchies:
        if "memory" in hierarchy.controllers or hierarchy.version == "v2":
            return len(members(kernel, hierarchy, path))
    pids = pids_in(kernel, tree, path) if tree is not None else None
    return None if pids is None else len(pids)
