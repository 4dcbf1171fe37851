"""Per-CPU caches in front of the LRU lists (mm/swap.c lru_cache_add(), lru_add_drain()).

A new page stays in the pagevec of the allocating CPU until the pagevec is full or drained. The pagevec holds a
reference, and the page cannot be isolated.

A CPU drains its own pagevec when it unmaps, truncates, exits or reclaims. Migration, mbind and hotplug drain those of
all CPUs. Pages that migration or a failed isolation puts back skip the pagevecs: linux-6 drains them at once
(mm/migrate.c __unmap_and_move()), and the older profiles do not model it."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import span
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.storage.swap_io import drop_unused


class LruPagevecs:
    """The pagevecs of a machine. Each CPU has one for inactive and one for active pages (2.6: lru_add_pvecs,
    lru_add_active_pvecs). In linux-6 new pages are never active, so the second stays empty."""

    def __init__(self, m: Machine) -> None:
        self._m = m
        self._size = m.profile.pagevec_size
        self._waiting: dict[tuple[int, bool], list[int]] = {}

    def lru_cache_add(self, pfns: Pfns, active: bool, cpu: int | None) -> None:
        """Add new pages to the pagevec of `cpu`. A full pagevec is moved to the LRU. The caller keeps its references.
        `cpu` None: add to the LRU at once, for pages that are not new (those of a machine description)."""
        frames = self._m.frames
        if cpu is None:
            frames.add_lru(pfns, active)
            return
        at = span(pfns)
        if active:
            frames.flags[at] |= PG.ACTIVE
        else:
            frames.flags[at] &= ~np.uint32(PG.ACTIVE)
        waiting = self._waiting.setdefault((cpu, active), [])
        total = len(waiting) + len(pfns)
        if total >= self._size:
            # Full pagevecs go to the LRU; the remainder stays in the pagevec.
            self._to_lru(waiting)
            through = len(pfns) - total % self._size
            frames.add_lru(pfns[:through])
            pfns = pfns[through:]
        frames.refcount[pfns] += 1
        waiting += pfns.tolist()

    def lru_add_drain(self, cpu: int | None) -> None:
        """Move the pages of one CPU to the LRU and free pages without other references. None: no CPU, do nothing."""
        if cpu is not None:
            for active in (False, True):
                self._to_lru(self._waiting.get((cpu, active), []))

    def lru_add_drain_all(self) -> Events:
        """Drain the pagevecs of all CPUs. Takes time: the kernel queues a work item on each CPU and waits for it."""
        m = self._m
        yield from m.step("drain LRU caches", m.costs.drain)
        m.count("lru_add_drain_all", 1)
        self.flush()

    def flush(self) -> None:
        """Move all pagevecs to the LRU, in no simulated time."""
        for waiting in self._waiting.values():
            self._to_lru(waiting)

    def cached(self) -> Pfns:
        """The pages in the pagevecs of all CPUs."""
        return np.array([pfn for waiting in self._waiting.values() for pfn in waiting], np.int32)

    def _to_lru(self, waiting: list[int]) -> None:
        if not waiting:
            return
        frames = self._m.frames
        pages = np.array(waiting, np.int32)
        waiting.clear()
        frames.add_lru(pages)
        frames.put(pages)
        drop_unused(self._m, pages[frames.state[pages] == State.IN_USE])
