"""Lets time pass while a process is watched."""

from __future__ import annotations

import threading

from backend.errors import Interrupted
from backend.kernel import Kernel

_SLICE = 200_000_000
"""Nanoseconds between two looks at whether somebody has cancelled."""


def wait(
    kernel: Kernel, nanoseconds: int, cancel: threading.Event | None, changed: str = "nothing was changed"
) -> None:
    """Raises Interrupted, which says what was `changed`."""
    end = kernel.clock() + nanoseconds
    while (left := end - kernel.clock()) > 0:
        if cancel is not None and cancel.is_set():
            raise Interrupted(f"interrupted: {changed}", "")
        kernel.pause(min(left, _SLICE))
