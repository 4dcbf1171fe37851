"""A block device that serves one request at a time, in order of arrival."""

from __future__ import annotations

import simpy

from backend.emulator.frames.page_lock import Events


class BlockDevice:
    """`busy_until`: when the last queued request is done, in simulated seconds since boot."""

    def __init__(self) -> None:
        self.busy_until = 0.0

    def request(self, env: simpy.Environment, seconds: float) -> Events:
        """Queue a request that takes `seconds` and wait until it is done."""
        self.busy_until = max(float(env.now), self.busy_until) + seconds
        yield env.timeout(self.busy_until - float(env.now))
