"""The time line of a recording: shows where it stands, goes where it is clicked or dragged to."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.time_line import TimeLineState, draw
from numatui.tui.reading.machine import Playback, playback
from numatui.tui.state.state import state_of
from numatui.tui.widgets.painted_lines import PaintedLines

_TALL = 36
"""Rows of the screen from which the graph has two rows."""


class TimeLine(Widget, can_focus=False):
    """Takes no room where there is no recording with several samples. Posts `Sought`."""

    @dataclass
    class Sought(Message):
        """The user wants to see a sample."""

        number: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.hover = -1
        self._dragged = False
        self._drawn = PaintedLines(self)

    @property
    def recording(self) -> Playback | None:
        return playback(state_of(self).kernel)

    def on_mount(self) -> None:
        self.display = self.recording is not None
        if self.recording is None:
            return
        app = state_of(self)
        for name in ("snapshot", "marked", "course_ticks", "speed"):
            self.watch(app, name, self._arrange)
        app.theme_changed_signal.subscribe(self, self._drawn.repaint)

    def on_resize(self) -> None:
        self.styles.height = 4 if self.screen.size.height >= _TALL else 3
        self._arrange()

    def _arrange(self, *_: object) -> None:
        course, recording, app = state_of(self).course, self.recording, state_of(self)
        if course is None or recording is None or not self.size.width:
            return
        state = TimeLineState(course, recording.at, self.hover, app.marked, app.kernel.page_size, recording.speed)
        self._drawn.show(draw(state, self.size.width, self.size.height, glyphs()))

    def render_line(self, y: int) -> Strip:
        return self._drawn.strip(y)

    def _sample_at(self, x: int) -> int:
        course = state_of(self).course
        return 0 if course is None else course.sample_at(x, self.size.width)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.capture_mouse()
        self._dragged = True
        self._seek(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        hover = self._sample_at(event.x)
        if hover != self.hover:
            self.hover = hover
            self._arrange()
        if self._dragged:
            self._seek(event.x)

    def on_mouse_up(self) -> None:
        self._dragged = False
        self.release_mouse()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._turn(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._turn(-1)

    def _turn(self, step: int) -> None:
        if self.recording is not None:
            self.post_message(self.Sought(self.recording.at + step))

    def on_leave(self) -> None:
        self.hover = -1
        self._arrange()

    def _seek(self, x: int) -> None:
        number = self._sample_at(x)
        if self.recording is not None and number != self.recording.at:
            self.post_message(self.Sought(number))
