"""A limit in bytes per second over all jobs that share it."""

from __future__ import annotations

import threading

from backend.kernel import Kernel

_PAUSE = 100_000_000
"""Nanoseconds: the longest wait between two checks for cancellation."""
_SLICE = 10
"""A batch is at most 1/_SLICE of the bytes of a second."""


class RateLimit:
    """`rate`: bytes per second of the kernel's clock, 0 for no limit."""

    def __init__(self, kernel: Kernel, rate: int = 0) -> None:
        self.kernel, self.rate = kernel, rate
        self._due = 0
        self._lock = threading.Lock()

    def largest(self, batch: int) -> int:
        """The size of a batch within the limit, at least one byte."""
        return max(1, min(batch, self.rate // _SLICE)) if self.rate else batch

    def spend(self, amount: int, cancel: threading.Event) -> None:
        """Called after so many bytes moved. Returns when the next may move, or soon after `cancel` is set."""
        if not self.rate:
            return
        with self._lock:
            self._due = max(self._due, self.kernel.clock()) + amount * 1_000_000_000 // self.rate
            due = self._due
        while (early := due - self.kernel.clock()) > 0 and not cancel.is_set():
            self.kernel.pause(min(early, _PAUSE))
