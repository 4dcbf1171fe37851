"""Opens the terminal UI: a first line at once, then the toolkit, which takes its time to import."""

from __future__ import annotations

from numatui.cli.source import KernelChoice
from numatui.tui.first_frame import first_frame

_DOING = {
    "demo": "opening the demo …",
    "replay": "reading the recording …",
    "live": "looking at this machine …",
    "remote": "connecting …",
}


def open_ui(choice: KernelChoice) -> int:
    """The exit code. Raises what `numatui.tui.start.start` raises, with the terminal as it was."""
    first_frame.show(_DOING[choice.which or "live"])
    try:
        from numatui.tui.start import start

        return start(choice)
    finally:
        first_frame.leave()
