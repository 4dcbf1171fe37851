"""Waits on the kernel's clock without delaying signals."""

from __future__ import annotations

import threading

from backend.kernel import Kernel

# Nanoseconds: how long it takes at most to notice `cancel`.
_SLICE = 200_000_000


def wait(kernel: Kernel, nanoseconds: int, cancel: threading.Event) -> bool:
    """Wait on the kernel's clock. False if `cancel` is set, or if the clock has stopped (the end of a recording)."""
    end = kernel.clock() + nanoseconds
    while not cancel.is_set():
        before = kernel.clock()
        if before >= end:
            return True
        kernel.pause(min(_SLICE, end - before))
        if kernel.clock() == before:
            return False
    return False
