"""Waiting for the kernel's time to pass, without holding up a signal."""

from __future__ import annotations

import threading

from backend.kernel import Kernel

_SLICE = 200_000_000


def wait(kernel: Kernel, nanoseconds: int, cancel: threading.Event) -> bool:
    """Let so much of the kernel's time pass. False when `cancel` was set meanwhile, or no time passes any more (the end
    of a recording)."""
    end = kernel.clock() + nanoseconds
    while not cancel.is_set():
        before = kernel.clock()
        if before >= end:
            return True
        kernel.pause(min(_SLICE, end - before))
        if kernel.clock() == before:
            return False
    return False
