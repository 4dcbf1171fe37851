"""Actions of the app on a recording with several samples: play it, go to a sample."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import SystemCommand
from textual.screen import Screen

from numatui.tui.demo_app import DemoApp
from numatui.tui.keys import bindings
from numatui.tui.model.course import Course, happened
from numatui.tui.reading.machine import playback
from numatui.tui.reading.samples import SamplesReader
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.study.samples_compared import SamplesComparedScreen
from numatui.tui.widgets.time_line import TimeLine

if TYPE_CHECKING:
    from backend.recording.manifest import Sample
    from backend.recording.timeline import Events


class ReplayApp(DemoApp):
    """Gives the keys for a demo's time their meaning for a recording."""

    BINDINGS: ClassVar = bindings("replay")
    _samples: SamplesReader | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("seek", "mark", "step", "scenarios") and playback(self.kernel) is not None:
            return True
        return False if action in ("seek", "mark") else super().check_action(action, parameters)

    def on_snapshot_read(self) -> None:
        """The other samples are looked at when this one is on the screen."""
        recording = playback(self.kernel)
        if recording is not None and self._samples is None:
            self.course = self.course or Course(recording.samples, recording.events)
            self._samples = SamplesReader(recording, self, tuple(self.course.points))
            self._samples.start()

    def on_unmount(self) -> None:
        if self._samples is not None:
            self._samples.end()

    def on_samples_reader_found(self, event: SamplesReader.Found) -> None:
        if self.course is not None:
            self.course.points[event.number] = event.point
            self.course_ticks += 1

    def on_time_line_sought(self, event: TimeLine.Sought) -> None:
        self._go_to(event.number)

    def action_mark(self) -> None:
        """Marks this sample; compares this one with the one that is marked; forgets the mark at the marked one."""
        recording = playback(self.kernel)
        if recording is None:
            return
        if self.marked < 0:
            self.marked = recording.at
            self.tell(f"sample {recording.at + 1} is marked: at another one, ' compares the two")
        elif self.marked == recording.at:
            self.marked = -1
        else:
            self.push_screen(SamplesComparedScreen(recording, *sorted((self.marked, recording.at))))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if playback(self.kernel) is not None:
            yield SystemCommand("Mark a sample", "Compare two samples of the recording", self.action_mark)
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
    return f"{number + 1:>5}  {minutes:>4.0f}:{seconds:04.1f}  {wall}  {happened(events)}".rstrip()
