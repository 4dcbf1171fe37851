"""A field for a line of text. Of what is pasted, as much is taken as fits, and that is said; Textual takes none."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from numatui.tui.state.state import state_of


class ShortInput(Input):
    """An `Input` with a `max_length`."""

    def on_paste(self, event: events.Paste) -> None:
        """Called before Textual's own handler, which takes the first line."""
        start, end = sorted(self.selection)
        room = (self.max_length or 0) - len(self.value) + (end - start)
        line = next(iter(event.text.splitlines()), "")
        if len(line) > room:
            event.text = line[: max(0, room)]
            state_of(self).tell(f"cut after {self.max_length} characters", severity="warning")
