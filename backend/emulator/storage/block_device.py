"""A device that serves one request after the other, each taking its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.emulator.frames.page_lock import Events

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


class BlockDevice:
    """`busy_until`: when it has done what it was given so far, in simulated seconds."""

    def __init__(self) -> None:
        self.busy_until = 0.0

    def request(self, m: Machine, seconds: float) -> Events:
        """Wait for a request that takes so long, after those that were given before."""
        self.busy_until = max(m.now, self.busy_until) + seconds
        yield m.env.timeout(self.busy_until - m.now)
