"""Promotion of hot pages from slow memory: NUMA balancing as memory tiering (kernel/sched/fair.c
should_numa_migrate_memory()).

A page is hot if it is used soon after it was marked: within the threshold. Not modelled: the threshold adapts itself to
the rate limit (numa_promotion_adjust_threshold())."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.page import Pfns
from backend.emulator.machine import Machine
from backend.plan.top_tier import slow_nodes

HOT = 1.0
"""Seconds: hot_threshold_ms (debugfs sched/numa_balancing)."""
RATE = 65536 << 20
"""Bytes a second to one node: kernel.numa_balancing_promote_rate_limit_MBps."""
_PLENTY = 1 << 30
"""Bytes free beyond the high watermark from which on everything is promoted (pgdat_free_space_enough())."""


class Promotion:
    """Of a machine. `slow`: the nodes below the top tier."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.slow = slow_nodes(m.tiers, (node.id for node in m.nodes.values() if node.cpus))
        self._marked: NDArray[np.float64] | None = None
        self._windows: dict[int, tuple[float, int]] = {}
        """Target → (begin of its second, candidates in it)."""

    def marked(self, pfns: Pfns) -> None:
        """The time at which pages were marked is kept with them (folio_xchg_access_time())."""
        if self._marked is None:
            self._marked = np.zeros(len(self.m.frames.nid))
        self._marked[pfns] = self.m.now

    def is_hot(self, pfn: int, target: int) -> bool:
        """Whether a page that was just used should be promoted to `target`."""
        zone, size = self.m.frames.zones[target], self.m.page_size
        if (zone.free - zone.wmark_high) * size > max(_PLENTY, zone.pages * size >> 4):
            return True
        if self._marked is None or self.m.now - self._marked[pfn] >= HOT:
            return False
        return self._within_rate(target)

    def _within_rate(self, target: int) -> bool:
        """numa_promotion_rate_limit()."""
        self.m.count("pgpromote_candidate", 1)
        began, count = self._windows.get(target, (self.m.now, 0))
        if self.m.now - began > 1.0:
            began, count = self.m.now, 0
        self._windows[target] = began, count + 1
        return (count + 1) * self.m.page_size < RATE
