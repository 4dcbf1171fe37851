"""The shipped scenarios. The chosen scenario becomes the demo machine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.scenario.shipped import load, names
from backend.files.text import printable
from numatui.format import size
from numatui.tui.keys import bindings
from numatui.tui.paint.column import Column
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.study.compare import CompareScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table


@dataclass(frozen=True, slots=True)
class Scenario:
    """A line of the list. `file`: the name that opens the scenario. `memory`: bytes."""

    file: str
    title: str
    about: str
    profile: str
    nodes: int
    memory: int
    processes: int


@dataclass
class ScenariosRead(Message):
    """All scenarios, or the error."""

    scenarios: list[Scenario]
    problem: str = ""


class ScenarioTable(Table[Scenario]):
    """Posts `Moved` when the cursor has moved to another row."""

    BINDINGS: ClassVar = bindings("scenario-table")

    class Moved(Message):
        """The cursor has moved."""

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def key_of(self, row: Scenario) -> Hashable:
        return row.file


class ScenariosScreen(Screen[str]):
    """Returns the name of the chosen scenario, or None."""

    BINDINGS: ClassVar = bindings("scenarios")

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current

    def compose(self) -> ComposeResult:
        yield Header()
        yield ScenarioTable(id="scenarios", empty="  reading …")
        yield Static(id="about", markup=False)
        yield KeyFooter()

    @property
    def table(self) -> ScenarioTable:
        return self.query_one(ScenarioTable)

    def on_mount(self) -> None:
        self.table.focus()
        self._read()

    @work(thread=True, group="scenarios", exit_on_error=False)
    def _read(self) -> None:
        try:
            self.post_message(ScenariosRead([read_scenario(name) for name in names()]))
        except Exception as exc:
            self.post_message(ScenariosRead([], problem_of(exc)))

    def on_scenarios_read(self, event: ScenariosRead) -> None:
        if event.problem:
            state_of(self).tell(event.problem, severity="error")
        self.table.show(event.scenarios, _COLUMNS)
        at = next((at for at, one in enumerate(event.scenarios) if one.file == self.current), 0)
        self.table.action_jump(at)

    def on_scenario_table_moved(self) -> None:
        current = self.table.current
        if current is None:
            return
        pieces: list[Piece] = [(printable(current.title, 200), "bold")]
        if current.file == self.current:
            pieces.append(("  is the machine you see now; Enter begins it anew", "dim"))
        else:
            pieces.append(("  Enter opens it in place of the present machine", "dim"))
        pieces.append((f"\n{printable(current.about, 1000)}", ""))
        self.query_one("#about", Static).update(Paint.of(self.app).text(pieces))

    def on_table_opened(self, event: Table.Opened) -> None:
        self.dismiss(event.row.file)

    def action_compare(self) -> None:
        if self.table.current is not None:
            self.app.push_screen(CompareScreen(self.table.current.file))

    def action_leave(self) -> None:
        self.dismiss(None)


def read_scenario(name: str) -> Scenario:
    """A shipped scenario as a line of the list. Raises NotFound, ParseError."""
    told = load(name)
    return Scenario(
        name, told.name, told.about, told.machine.profile.name, len(told.machine.nodes),
        sum(node.pages for node in told.machine.nodes) * told.machine.page_size, len(told.processes),
    )  # fmt: skip


_COLUMNS: list[Column[Scenario]] = [
    Column("file", "SCENARIO", 24, lambda one, _: one.file),
    Column("profile", "KERNEL", 11, lambda one, _: one.profile),
    Column("nodes", "NODES", 5, lambda one, _: str(one.nodes), "right"),
    Column("memory", "MEMORY", 6, lambda one, _: size(one.memory), "right", rank=1),
    Column("processes", "PROCESSES", 9, lambda one, _: str(one.processes), "right", rank=2),
    Column("about", "ABOUT", 16, lambda one, _: printable(one.about, 200), rank=3, most=90),
]
