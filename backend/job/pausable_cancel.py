"""Holding a job up, letting it go on, and cancelling it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class PausableCancel(threading.Event):
    """What a job looks at before each call, as its `cancel`: set, it is to end. While it is held, whoever looks waits.
    `clock` gives nanoseconds, of the kernel that the job works on."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__()
        self._clock = clock
        self._free = threading.Event()
        self._free.set()
        self._since = 0
        self._held = 0

    @property
    def held(self) -> bool:
        return not self._free.is_set()

    @property
    def held_for(self) -> int:
        """Nanoseconds, all times together."""
        return self._held + (self._clock() - self._since if self.held else 0)

    def hold(self) -> None:
        """The call that is under way ends first."""
        if not self.held and not super().is_set():
            self._since = self._clock()
            self._free.clear()

    def release(self) -> None:
        """Let it go on."""
        if self.held:
            self._held += self._clock() - self._since
            self._free.set()

    def set(self) -> None:
        super().set()
        self.release()

    def is_set(self) -> bool:
        """Waits while it is held."""
        self._free.wait()
        return super().is_set()
