"""Waits without delaying signals: for the kernel's clock, and for work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import TypeVar

from backend.kernel import Kernel

T = TypeVar("T")

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


def beside(work: Callable[[], T]) -> T:
    """Does it in another thread, which may hang. Returns what it returns, or raises what it raises. Signal handlers run
    meanwhile: Python runs them in the main thread only."""
    done: Future[T] = Future()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as exc:
            done.set_exception(exc)

    threading.Thread(target=do, daemon=True).start()
    while not done.done():
        # A signal that comes right before the main thread falls asleep is handled when it wakes, not before.
        futures.wait([done], timeout=_SLICE / 1e9)
    return done.result()
