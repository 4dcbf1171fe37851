"""Pauses, resumes and cancels a job."""

from __future__ import annotations

import threading
from collections.abc import Callable


class PausableCancel(threading.Event):
    """The `cancel` of a job, which checks it before each call: if it is set, the job ends. While it is held, `is_set`
    blocks. `clock`: nanoseconds, of the kernel that the job works on."""

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
        """Nanoseconds, all pauses together."""
        return self._held + (self._clock() - self._since if self.held else 0)

    def hold(self) -> None:
        """Pauses the job after its current call."""
        if not self.held and not super().is_set():
            self._since = self._clock()
            self._free.clear()

    def release(self) -> None:
        """Resumes the job."""
        if self.held:
            self._held += self._clock() - self._since
            self._free.set()

    def set(self) -> None:
        super().set()
        self.release()

    def is_set(self) -> bool:
        """Blocks while it is held."""
        self._free.wait()
        return super().is_set()
