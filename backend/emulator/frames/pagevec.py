"""Per-CPU caches in front of the LRU lists (mm/swap.c lru_cache_add(), lru_add_drain()): a new page waits in the
pagevec of the CPU that made it, with a reference, until the pagevec is full or somebody drains it. Meanwhile nobody can
isolate it.

Who drains: a CPU its own one when it unmaps or truncates, exits or reclaims; migration, mbind and hotplug those of all
CPUs. Pages that migration or a failed isolation puts onto the LRU do not pass through here: linux-6 drains those at
once (mm/migrate.c __unmap_and_move()), and for the older kernels it is left out."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import span
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.storage.swap_io import drop_unused


class LruPagevecs:
    """All of a machine: for each CPU one for pages that will be inactive and one for active ones (2.6: lru_add_pvecs,
    lru_add_active_pvecs; linux-6, where new pages are never active, has one in effect)."""

    def __init__(self, m: Machine) -> None:
        self._m = m
        self._size = m.profile.pagevec_size
        self._waiting: dict[tuple[int, bool], list[int]] = {}

    def lru_cache_add(self, pfns: Pfns, active: bool, cpu: int | None) -> None:
        """New pages, whose references remain the caller's, into the pagevec of `cpu`; each time it is full it goes to
        the LRU. `cpu` None: pages that are old already (a described machine's) are on the LRU at once."""
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
            self._to_lru(waiting)
            through = len(pfns) - total % self._size
            frames.add_lru(pfns[:through])
            pfns = pfns[through:]
        frames.refcount[pfns] += 1
        waiting += pfns.tolist()

    def lru_add_drain(self, cpu: int | None) -> None:
        """The pages of one CPU onto the LRU; those that nobody uses any more are freed. None: of nobody."""
        if cpu is not None:
            for active in (False, True):
                self._to_lru(self._waiting.get((cpu, active), []))

    def lru_add_drain_all(self) -> Events:
        """The same on all CPUs, by a work item on each, which takes its time."""
        m = self._m
        yield from m.step("drain LRU caches", m.costs.drain)
        m.count("lru_add_drain_all", 1)
        self.flush()

    def flush(self) -> None:
        """All pagevecs onto the LRU, at once."""
        for waiting in self._waiting.values():
            self._to_lru(waiting)

    def cached(self) -> Pfns:
        """The pages that wait, of all CPUs."""
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
