"""A move of the automatic mover is watched while it runs: what forbids a move ends one, too."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backend.job.events import Event, Progressed
from backend.kernel import Kernel

_AGAIN = 1_000_000_000
"""Nanoseconds from one question to the next."""


class WatchedMove(threading.Event):
    """The `cancel` of one job, and its `on_event`. `outer`: ends every job. `forbidden`: why it may not go on, empty if
    it may; asked once a second. `most`: bytes that it may move. `reason`: why it was ended, empty if it was not."""

    def __init__(self, kernel: Kernel, outer: threading.Event, most: int, forbidden: Callable[[], str]) -> None:
        super().__init__()
        self._kernel, self._outer, self._most, self._forbidden = kernel, outer, most, forbidden
        self._asked = kernel.clock()
        self.reason = ""

    def is_set(self) -> bool:
        return super().is_set() or self._outer.is_set()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Progressed) or super().is_set():
            return
        if event.progress.moved > self._most:
            self._end("it has moved all that max_per_hour leaves")
        now = self._kernel.clock()
        if now - self._asked >= _AGAIN:
            self._asked = now
            if why := self._forbidden():
                self._end(why)

    def _end(self, why: str) -> None:
        self.reason = why
        self.set()
