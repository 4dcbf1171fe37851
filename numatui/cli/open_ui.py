"""Opens the terminal UI: a first line at once, then the toolkit, which takes its time to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numatui.cli.source import KernelChoice
from numatui.tui.first_frame import first_frame

if TYPE_CHECKING:
    from numatui.tui.fleet.reader import Fleet

_DOING = {
    "demo": "opening the demo …",
    "replay": "reading the recording …",
    "live": "looking at this machine …",
    "remote": "connecting …",
}


def open_fleet_ui(fleet: Fleet) -> int:
    """The exit code. Raises UsageError, with the terminal as it was."""
    first_frame.show("looking at the fleet …")
    try:
        from numatui.tui.start import start_fleet

        return start_fleet(fleet)
    finally:
        first_frame.leave()


def open_ui(choice: KernelChoice) -> int:
    """The exit code. Raises what `numatui.tui.start.start` raises, with the terminal as it was."""
    first_frame.show(_DOING[choice.which or "live"])
    try:
        from numatui.tui.start import start

        return start(choice)
    finally:
        first_frame.leave()
