"""Direct and swap migration compared on one scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.study.tour import DIRECT, FIGURES, SWAP, Measured, measure_scenario
from backend.files.text import printable
from numatui.tui.keys import bindings
from numatui.tui.paint.figures import figures, layouts
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header


@dataclass
class ScenarioMeasured(Message):
    """The measured runs, or the error."""

    runs: list[Measured]
    problem: str = ""


class CompareScreen(Screen[None]):
    """Runs the scenario on two machines of its own; the shown machine is not involved."""

    BINDINGS: ClassVar = bindings("compare")

    def __init__(self, scenario: str) -> None:
        super().__init__()
        self.scenario = scenario
        self.result: ScenarioMeasured | None = None

    def compose(self) -> ComposeResult:
        yield Header()
        with VerticalScroll():
            yield Static(id="comparison", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._measure()
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        pieces: list[Piece] = [
            ("\n Direct and swap migration  ", "bold"), (printable(self.scenario, 60) + "\n", "key"),
        ]  # fmt: skip
        result, width = self.result, max(40, self.size.width - 2)
        if result is None:
            pieces.append(("\n running the scenario on both machines …", "dim"))
        elif result.problem:
            pieces.append((f"\n {printable(result.problem, 400)}", "far"))
        else:
            if not any(run.numbers["pages_asked"] for run in result.runs):
                pieces.append(("\n Nothing is migrated in this scenario: there is nothing to compare.\n", "warn"))
            pieces += figures(result.runs, tuple(FIGURES), width, glyphs())
            pieces += layouts(result.runs, width, glyphs(), self.app.no_color)
        self.query_one("#comparison", Static).update(Paint.of(self.app).text(pieces))

    @work(thread=True, group="compare", exit_on_error=False)
    def _measure(self) -> None:
        try:
            self.post_message(ScenarioMeasured(measure_scenario(self.scenario, (DIRECT, SWAP))))
        except Exception as exc:
            self.post_message(ScenarioMeasured([], problem_of(exc)))

    def on_scenario_measured(self, event: ScenarioMeasured) -> None:
        self.result = event
        self._show()

    def action_leave(self) -> None:
        self.dismiss(None)
