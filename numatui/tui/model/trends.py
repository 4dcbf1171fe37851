"""What the whole machine did over the last readings. Pure."""

from __future__ import annotations

from collections import deque

MOST = 400
"""Readings kept: two for each cell of a wide screen."""


class Trends:
    """Values of the last readings, oldest first. `local`: share of all memory that is where its process runs. `moved`:
    bytes a second that the kernel migrated. `work`: operations a second of a demo; empty elsewhere. `best`: the highest
    `work` so far, and when it was read, on the kernel's clock. `most`: the highest `moved` so far."""

    def __init__(self) -> None:
        self.local: deque[float] = deque(maxlen=MOST)
        self.moved: deque[float] = deque(maxlen=MOST)
        self.work: deque[float] = deque(maxlen=MOST)
        self.best = (0.0, 0)
        self.most = 0.0

    def add(self, at: int, local: float | None, moved: float, work: float | None) -> None:
        """Adds a reading. `at`: nanoseconds of the kernel's clock."""
        if local is not None:
            self.local.append(local)
        self.moved.append(moved)
        self.most = max(self.most, moved)
        if work is not None or self.work:
            self.work.append(work or 0.0)
            self.best = max(self.best, (work or 0.0, at), key=lambda one: one[0])
