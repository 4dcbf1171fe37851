"""A guided tour: the five benefits of Direct Migration V8, each measured on its own small machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.inspect.explain import PATCHES
from backend.emulator.scenario.description import Description
from backend.emulator.scenario.shipped import load
from backend.emulator.study.follow import open_stage
from backend.emulator.study.tour import BENEFITS, DIRECT, SWAP, Benefit, Measured, measure
from numatui.tui.keys import bindings
from numatui.tui.paint.figures import figures, layouts
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.study.follow import Followed, FollowScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header

_END = len(BENEFITS)


@dataclass
class BenefitMeasured(Message):
    """The measured runs of a page, or the error."""

    page: int
    runs: list[Measured]
    problem: str = ""


@dataclass
class StagesReady(Message):
    """Machines on which a page can be followed, or the error."""

    followed: list[Followed]
    problem: str = ""


class TourScreen(Screen[None]):
    """One page per benefit and a last page. No number is stored: a page runs its scenario when it is first shown."""

    BINDINGS: ClassVar = bindings("tour")

    def __init__(self) -> None:
        super().__init__()
        self.page = 0
        self.runs: dict[int, list[Measured]] = {}
        self.problems: dict[int, str] = {}

    def compose(self) -> ComposeResult:
        yield Header()
        with VerticalScroll():
            yield Static(id="page", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        width = max(40, self.size.width - 2)
        pieces = self._last(width) if self.page == _END else self._benefit(BENEFITS[self.page], width)
        self.query_one("#page", Static).update(Paint.of(self.app).text(pieces))
        self.refresh_bindings()

    def _benefit(self, benefit: Benefit, width: int) -> list[Piece]:
        pieces: list[Piece] = [
            (f"\n Benefit {self.page + 1} of {_END}  ", "key"), (f"{benefit.title}\n\n", "bold"),
        ]  # fmt: skip
        pieces += [(f" {line}\n", "") for line in wrap(benefit.text, min(width, 100))]
        runs = self.runs.get(self.page)
        if runs is None:
            problem = self.problems.get(self.page)
            if problem is None:
                self._measure(self.page)
            return [
                *pieces,
                (f"\n {problem or 'running the scenario on three machines …'}", "far" if problem else "dim"),
            ]
        pieces += figures(runs, benefit.figures, width, glyphs())
        if benefit is BENEFITS[0] or benefit is BENEFITS[-1]:
            pieces += layouts(runs, width, glyphs(), self.app.no_color)
        pieces += [
            ("\n Measured just now in the scenario ", "dim"),
            (benefit.scenario, "key"),
            (
                f", {'steps of ' + benefit.task + ', ' if benefit.task else ''}under three kernels; patch "
                f"{benefit.without} is "
                f"{PATCHES[benefit.without]}.\n",
                "dim",
            ),
        ]
        return pieces

    def _last(self, width: int) -> list[Piece]:
        pieces: list[Piece] = [("\n Where to go on\n\n", "bold")]
        for keys, text in (
            (
                "f",
                "the race that patch 1 closes: a thread touches a page while it is being copied, step by step",
            ),
            ("^o", "open one of the scenarios as the demo machine, or compare the kernels on it"),
            (
                "z",
                "on the demo machine: the microscope, all frames of a node as a map; Enter follows the page of a frame",
            ),
            ("m", "on the demo machine: migrate a process, and watch its throughput come back"),
        ):
            lines = wrap(text, max(20, min(width, 100) - 8))
            pieces += [
                (f" {keys:>4}", "key"),
                (f"  {lines[0]}\n", ""),
                *[(f"       {line}\n", "") for line in lines[1:]],
            ]
        pieces.append(("\n Without a screen\n\n", "bold"))
        for command in (
            f"numatui emulate direct-vs-swap --compare {DIRECT},{SWAP}",
            "numatui emulate fault-race --trace worker:ring:0",
        ):
            pieces.append((f"   {command}\n", "accent"))
        pieces.append(("\n The five patches\n\n", "bold"))
        for number, name in PATCHES.items():
            pieces += [(f"   {number} ", "key"), (f"{name}\n", "")]
        return pieces

    @work(thread=True, group="tour", exit_on_error=False)
    def _measure(self, page: int) -> None:
        try:
            self.post_message(BenefitMeasured(page, measure(BENEFITS[page])))
        except Exception as exc:
            self.post_message(BenefitMeasured(page, [], problem_of(exc)))

    def on_benefit_measured(self, event: BenefitMeasured) -> None:
        if event.problem:
            self.problems[event.page] = event.problem
        else:
            self.runs[event.page] = event.runs
        if event.page == self.page:
            self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "page":
            return 0 <= self.page + int(str(parameters[0])) <= _END
        return True

    def action_page(self, step: int) -> None:
        self.page += step
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self._show()

    def action_follow(self) -> None:
        if self.page == _END:
            self._open([("fault-race", lambda: load("fault-race", DIRECT))], "worker:ring:0")
        else:
            benefit = BENEFITS[self.page]
            self._open(
                [(DIRECT, lambda: benefit.describe(DIRECT)), (SWAP, lambda: benefit.describe(SWAP))],
                benefit.page,
            )

    @work(thread=True, group="stages", exclusive=True, exit_on_error=False)
    def _open(self, machines: list[tuple[str, Callable[[], Description]]], page: str) -> None:
        try:
            followed = [Followed(f"{name}  {page}", open_stage(describe(), page)[0]) for name, describe in machines]
            self.post_message(StagesReady(followed))
        except Exception as exc:
            self.post_message(StagesReady([], problem_of(exc)))

    def on_stages_ready(self, event: StagesReady) -> None:
        if event.problem:
            state_of(self).tell(event.problem, severity="error")
        elif self.is_current:
            self.app.push_screen(FollowScreen(event.followed))

    def action_leave(self) -> None:
        self.dismiss(None)
