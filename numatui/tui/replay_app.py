"""Actions of the app on a recording with several samples: play it, go to a sample."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import SystemCommand
from textual.screen import Screen

from numatui.tui.demo_app import DemoApp
from numatui.tui.keys import bindings
from numatui.tui.reading.machine import playback
from numatui.tui.screens.dialogs.chooser import Chooser

if TYPE_CHECKING:
    from backend.recording.manifest import Sample
    from backend.recording.timeline import Events


class ReplayApp(DemoApp):
    """Gives the keys for a demo's time their meaning for a recording."""

    BINDINGS: ClassVar = bindings("replay")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("seek", "step", "scenarios") and playback(self.kernel) is not None:
            return True
        return False if action == "seek" else super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if playback(self.kernel) is not None:
            yield SystemCommand("Samples", "Go to another sample of the recording", self.action_scenarios)

    def action_seek(self, step: int) -> None:
        """Moves `step` samples forward or back, and stops playback."""
        recording = playback(self.kernel)
        if recording is not None:
            self._go_to(recording.at + step)

    def action_step(self) -> None:
        if playback(self.kernel) is not None:
            self.action_seek(1)
        else:
            super().action_step()

    def action_scenarios(self) -> None:
        recording = playback(self.kernel)
        if recording is None:
            super().action_scenarios()
            return
        told_of = zip(recording.samples, recording.events, strict=True)
        choices = [(str(number), told(number, *one)) for number, one in enumerate(told_of)]
        self.push_screen(Chooser("Samples", choices, str(recording.at)), self._chosen_sample)

    def _chosen_sample(self, answer: str | None) -> None:
        if answer is not None:
            self._go_to(int(answer))

    def _go_to(self, number: int) -> None:
        recording = playback(self.kernel)
        if recording is None:
            return
        if recording.speed:
            super().set_speed(0)
        recording.seek(number)
        self.read_now(anew=True)

    def set_speed(self, step: int) -> None:
        """A recording that stands at its end starts again."""
        recording = playback(self.kernel)
        if recording is not None and not step and not recording.speed and recording.at == len(recording.samples) - 1:
            recording.seek(0)
        super().set_speed(step)


def told(number: int, sample: Sample, events: Events) -> str:
    """A sample as a line: its number, time since the first sample, wall-clock time and events."""
    minutes, seconds = divmod(sample.at / 1e9, 60)
    wall = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(sample.wall))
    counts = ((events.began, "began"), (events.ended, "ended"))
    happened = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"{number + 1:>5}  {minutes:>4.0f}:{seconds:04.1f}  {wall}  {happened}".rstrip()
