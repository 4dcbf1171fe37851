"""Actions of the app on an emulated machine: microscope, time steps, other scenarios."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import SystemCommand
from textual.screen import Screen

from numatui.tui.keys import bindings
from numatui.tui.reading.emulated import emulated
from numatui.tui.reading.machine import simulated_time
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.state.state import StatefulApp

if TYPE_CHECKING:
    from backend.recording.as_scenario import Copy
    from numatui.tui.reading.frame_source import FrameSource

STEP = 0.1
"""Simulated seconds in a step; the command palette names the value."""
_ACTIONS = ("scenarios", "step")


class DemoApp(StatefulApp):
    """`next_scenario` (a name) and `next_copy` say what `start` opens after the app has ended; with neither, it ends
    too. Screens are imported late: they import the emulator, which would slow the start."""

    BINDINGS: ClassVar = bindings("demo")
    next_scenario = ""
    next_copy: Copy | None = None

    @cached_property
    def _has_frames(self) -> bool:
        """Whether the microscope can read frames."""
        return emulated(self.kernel) is not None or (not self.kernel.traits.is_host and self._frames() is not None)

    def _frames(self) -> FrameSource | None:
        from numatui.tui.reading.frame_source import frame_source

        return frame_source(self.kernel)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "microscope":
            return self._has_frames
        if action in _ACTIONS:
            return emulated(self.kernel) is not None
        return super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        yield SystemCommand(
            "Try it on a copy",
            "This machine as an emulated one, on which a migration can be tried first",
            self.action_try_copy,
        )
        yield SystemCommand(
            "Guided tour",
            "The five benefits of direct migration, measured on emulated machines",
            self.action_tour,
        )
        if self._has_frames:
            yield SystemCommand("Microscope", "The frames of a node as a map; follow one page", self.action_microscope)
        if emulated(self.kernel) is not None:
            yield SystemCommand(
                "Scenarios",
                "Another demo machine, or direct and swap migration compared",
                self.action_scenarios,
            )
            yield SystemCommand("Step", "Let simulated time go on by a tenth of a second", self.action_step)

    def _shows(self, kind: type[Screen[Any]]) -> bool:
        return any(isinstance(screen, kind) for screen in self.screen_stack)

    def action_microscope(self) -> None:
        from numatui.tui.screens.study.microscope import MicroscopeScreen

        source = self._frames()
        if source is not None and not self._shows(MicroscopeScreen):
            self.push_screen(MicroscopeScreen(source))

    def action_tour(self) -> None:
        from numatui.tui.screens.study.tour import TourScreen

        if not self._shows(TourScreen):
            self.push_screen(TourScreen())

    def action_scenarios(self) -> None:
        from numatui.tui.screens.study.scenarios import ScenariosScreen

        if emulated(self.kernel) is not None and not self._shows(ScenariosScreen):
            self.push_screen(ScenariosScreen(self.kernel.reference), self._chosen)

    def _chosen(self, name: str | None) -> None:
        """Ends the app, so that no state of one machine reaches the next. `start` opens the scenario."""
        if not name:
            return
        if any(not job.ended for job in self.jobs):
            self.tell("A migration is running: let it end or cancel it (J) first.", severity="warning")
            return
        self.next_scenario = name
        self.exit(0)

    def action_try_copy(self) -> None:
        """Opens an emulated copy of this machine. Quitting the copy returns here."""
        if any(not job.ended for job in self.jobs):
            self.tell("A migration is running: let it end or cancel it (J) first.", severity="warning")
            return
        self.push_screen(
            Question(
                "Try things on a copy of this machine?",
                ["An emulated machine with the same nodes and processes takes the place of this screen.",
                 "What you do there changes nothing here. q comes back.",
                 "(htop's e, the environment of a process: /proc/PID/environ has it.)"],
                "Open the copy", undoable=True,
            ),
            self._copy,
        )  # fmt: skip

    def _copy(self, yes: bool | None) -> None:
        if yes:
            self.tell("Copying the machine …")
            self._make_copy()

    @work(thread=True, group="copy", exclusive=True, exit_on_error=False)
    def _make_copy(self) -> None:
        from backend.recording.as_scenario import copy_of

        try:
            copy = copy_of(self.kernel)
        except Exception as exc:
            self.call_from_thread(self.tell, problem_of(exc), severity="error")
            return
        self.call_from_thread(self._open_copy, copy)

    def _open_copy(self, copy: Copy) -> None:
        self.next_copy, self.comes_back = copy, True
        self.exit(0)

    def action_step(self) -> None:
        clock = simulated_time(self.kernel)
        if clock is None:
            return
        if clock.speed:
            self.set_speed(0)
        self._pass_time()

    @work(thread=True, group="step", exit_on_error=False)
    def _pass_time(self) -> None:
        kernel = emulated(self.kernel)
        if kernel is None:
            return
        try:
            kernel.pause(int(STEP * 1e9))
        except Exception as exc:
            self.call_from_thread(self.tell, problem_of(exc), severity="error")
        self.call_from_thread(self.read_now, True)
