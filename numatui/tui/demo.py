"""What the app can do besides where its machine is emulated: look into it, let it go on by a step, take another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual import work
from textual.app import SystemCommand
from textual.screen import Screen

from numatui.tui.emulated import emulated
from numatui.tui.keys import key
from numatui.tui.machine import simulated_time
from numatui.tui.reading import problem_of
from numatui.tui.state import StatefulApp

STEP = 0.1
"""Simulated seconds that a step takes."""
_ACTIONS = ("microscope", "scenarios", "step")


class DemoApp(StatefulApp):
    """`next_scenario`: what to open instead when the app has ended; empty to end for good. The screens are imported when they
    are needed: they bring the emulator along."""

    BINDINGS: ClassVar = [
        key("z", "microscope", "Demo: the microscope"),
        key("ctrl+t", "tour", "Guided tour of the five benefits"),
        key("ctrl+o", "scenarios", "Demo: another scenario"),
        key("full_stop", "step", "Demo: time goes on by a tenth of a second"),
    ]
    next_scenario = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _ACTIONS:
            return emulated(self.kernel) is not None
        return super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        yield SystemCommand(
            "Guided tour",
            "The five benefits of direct migration, measured on emulated machines",
            self.action_tour,
        )
        if emulated(self.kernel) is not None:
            yield SystemCommand(
                "Microscope", "The frames of a node as a map; follow one page", self.action_microscope
            )
            yield SystemCommand(
                "Scenarios",
                "Another demo machine, or direct and swap migration compared",
                self.action_scenarios,
            )
            yield SystemCommand("Step", "Let simulated time go on by a tenth of a second", self.action_step)

    def _shows(self, kind: type[Screen[Any]]) -> bool:
        return any(isinstance(screen, kind) for screen in self.screen_stack)

    def action_microscope(self) -> None:
        from numatui.tui.screens.microscope import MicroscopeScreen

        kernel = emulated(self.kernel)
        if kernel is not None and not self._shows(MicroscopeScreen):
            self.push_screen(MicroscopeScreen(kernel))

    def action_tour(self) -> None:
        from numatui.tui.screens.tour import TourScreen

        if not self._shows(TourScreen):
            self.push_screen(TourScreen())

    def action_scenarios(self) -> None:
        from numatui.tui.screens.scenarios import ScenariosScreen

        if emulated(self.kernel) is not None and not self._shows(ScenariosScreen):
            self.push_screen(ScenariosScreen(self.kernel.reference), self._chosen)

    def _chosen(self, name: str | None) -> None:
        """The app ends, so that nothing of one machine is left in the other; whoever runs it opens the next."""
        if not name:
            return
        if any(not job.ended for job in self.jobs):
            self.tell("A migration is running: let it end or cancel it (J) first.", severity="warning")
            return
        self.next_scenario = name
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
