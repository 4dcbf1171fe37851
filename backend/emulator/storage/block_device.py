"""A device that serves one request after the other, each taking its time."""

from __future__ import annotations

import simpy

from backend.emulator.frames.page_lock import Events


class BlockDevice:
    """`busy_until`: when it has done what it was given so far, in simulated seconds."""

    def __init__(self) -> None:
        self.busy_until = 0.0

    def request(self, env: simpy.Environment, seconds: float) -> Events:
        """Wait for a request that takes so long, after those that were given before."""
        self.busy_until = max(float(env.now), self.busy_until) + seconds
        yield env.timeout(self.busy_until - float(env.now))
