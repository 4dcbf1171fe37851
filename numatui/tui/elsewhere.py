"""What is said where a key does nothing: keys of machines of another kind, and keys of htop that mean something else.
Pure."""

from __future__ import annotations

from collections.abc import Callable

from numatui.tui.key_table import KEYS

_WHY = {
    "jobs": "nothing has been moved yet: m moves the memory of a process",
    "speed": "this machine is live: its time cannot be changed (numatui --demo, --replay)",
    "step": "this machine is live: its time cannot be changed (numatui --demo, --replay)",
    "seek": "this is no recording with several samples (numatui --replay)",
    "mark": "this is no recording with several samples (numatui --replay)",
    "microscope": "the frames of this machine cannot be seen; numatui --demo has them",
    "scenarios": "this is no demo or recording (numatui --demo, --replay)",
}
OF_HTOP = {
    "s": "strace -p PID traces a process; F6 chooses what to sort by here",
}
"""Keys of htop that have no meaning here."""
HTOP_LEGEND = (
    "a, e and l mean something else here: for the CPU affinity taskset -cp CPUS PID, for the environment "
    "/proc/PID/environ, for open files lsof -p PID. k goes up: F9 sends signals. Not here at all: s (strace -p PID)"
)
"""What stands in the help for those who come from htop."""


def why_not(key: str, may: Callable[[str], bool | None]) -> str:
    """Why a key that nothing has handled does nothing on this machine, or nothing to say. `may`: whether an action is
    possible."""
    for one in (*KEYS["app"], *KEYS["demo"], *KEYS["replay"]):
        action = one.action.partition("(")[0]
        if key in one.keys.split(",") and not may(action):
            return _WHY.get(action, "")
    return ""
