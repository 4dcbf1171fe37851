"""Reclaim: getting frames back from pages that were not used lately, by writing them to swap (mm/vmscan.c); and what is
left when that does not help (mm/oom_kill.c).

Each zone is gone through in the order of its frames, like the hand of a clock: active pages that were not touched since
become inactive, inactive ones that were touched become active, and the rest goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import simpy

from backend.emulator.frames import PG, Pfns, State, Zone
from backend.emulator.migration.isolate import isolate, putback
from backend.emulator.migration.mechanism import SwapEntries
from backend.emulator.mm import PTE_PRESENT, PTE_SHIFT, PTE_YOUNG, VM
from backend.emulator.page_lock import Events
from backend.emulator.swap_io import start_writing
from backend.emulator.task import Task

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

_WINDOW = 1024
"""Frames looked at in one go."""
_CLUSTER = 64
"""Pages written out in one go."""
_IDLE_ROUNDS = 4
"""Times that the hand goes round without getting anything before reclaim gives up."""


class Reclaimer:
    """One for a machine: kswapd of every node, direct reclaim, the choice of a victim."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self._hand = dict.fromkeys(m.frames.zones, 0)
        self._wake: dict[int, simpy.Event] = {}
        for nid, zone in m.frames.zones.items():
            if zone.pages and m.swap.slots:
                self._wake[nid] = m.env.event()
                m.env.process(self._kswapd(zone))

    def after_alloc(self) -> None:
        """Wake kswapd where a zone fell below its low watermark."""
        for nid, wake in self._wake.items():
            zone = self.m.frames.zones[nid]
            if zone.free < zone.wmark_low and not zone.isolated and not wake.triggered:
                wake.succeed()

    def short_of(self, count: int, nodes: Iterable[int]) -> int:
        """How many of `count` frames the nodes cannot give now."""
        zones = (self.m.frames.zones[node] for node in nodes)
        return max(0, count - sum(max(0, zone.free - zone.wmark_min) for zone in zones))

    def make_room(self, task: Task, count: int, nodes: frozenset[int]) -> Events:
        """Direct reclaim on behalf of `task` until the nodes can give `count` frames; failing that, somebody is killed.
        Ends also when nothing helps: then the allocation fails."""
        while task.alive and (short := self.short_of(count, nodes)):
            got = 0
            self.m.count("allocstall", 1)
            for node in sorted(nodes):
                got += yield from self._shrink(self.m.frames.zones[node], short)
            if not got and not self._kill_somebody(nodes):
                return

    def _kswapd(self, zone: Zone) -> Events:
        while True:
            yield self._wake[zone.nid]
            while zone.free < zone.wmark_high and not zone.isolated:
                got = yield from self._shrink(zone, zone.wmark_high - zone.free)
                self.m.count("kswapd_steal", got)
                if not got:
                    break
            self._wake[zone.nid] = self.m.env.event()

    def _shrink(self, zone: Zone, wanted: int) -> Events:
        """Up to about `wanted` frames of a zone back. Returns how many."""
        rounds = -(-zone.pages // _WINDOW) * _IDLE_ROUNDS
        got = 0
        for _ in range(rounds):
            victims = self._scan(zone)
            if len(victims):
                got += yield from self._page_out(victims[: max(wanted, _CLUSTER)])
            if got >= wanted:
                break
        yield from self.m.step("reclaim", self.m.costs.isolate * _WINDOW)
        return got

    def _scan(self, zone: Zone) -> Pfns:
        """The next window: ages its pages, returns those to go."""
        m, frames = self.m, self.m.frames
        start = zone.start + self._hand[zone.nid]
        end = min(start + _WINDOW, zone.start + zone.pages)
        self._hand[zone.nid] = 0 if end == zone.start + zone.pages else end - zone.start
        flags = frames.flags[start:end]
        usable = (frames.state[start:end] == State.IN_USE) & ((flags & PG.LRU) != 0)
        usable &= (flags & (PG.LOCKED | PG.WRITEBACK | PG.MLOCKED)) == 0
        pages = (np.nonzero(usable)[0] + start).astype(np.int32)
        m.count("pgscan", len(pages))
        touched, locked = self._referenced(pages)
        active = (frames.flags[pages] & PG.ACTIVE) != 0
        self._set_active(pages[touched & ~active], active=True)
        self._set_active(pages[~touched & active], active=False)
        return pages[~touched & ~active & ~locked]

    def _referenced(
        self, pages: Pfns
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """Whether any PTE of each page was touched since last time (the marks are cleared); whether it is locked in memory."""
        touched, locked = np.zeros(len(pages), np.bool_), np.zeros(len(pages), np.bool_)
        for vma, at, index in self.m.rmap.walk(self.m.frames, pages):
            pte = vma.pte[index]
            here = ((pte & PTE_PRESENT) != 0) & ((pte >> PTE_SHIFT) == pages[at])
            touched[at] |= here & ((pte & PTE_YOUNG) != 0)
            vma.pte[index[here]] &= ~np.int64(PTE_YOUNG)
            if vma.flags & VM.LOCKED:
                locked[at] |= here
        return touched, locked

    def _set_active(self, pages: Pfns, active: bool) -> None:
        m, frames = self.m, self.m.frames
        frames.drop_lru(pages)
        frames.add_lru(pages, active)
        for vma, at, index in m.rmap.walk(frames, pages):
            pte = vma.pte[index]
            here = ((pte & PTE_PRESENT) != 0) & ((pte >> PTE_SHIFT) == pages[at])
            vma.nr_active += int(np.count_nonzero(here)) * (1 if active else -1)

    def _page_out(self, pages: Pfns) -> Events:
        """shrink_list(): into the swap cache, unmapped, written, and freed when nobody wanted them meanwhile."""
        m, frames, swap = self.m, self.m.frames, self.m.swap
        taken = isolate(m, pages, None, move_all=True)
        got = m.locks.trylock(taken)
        putback(m, taken[~got])
        taken = taken[got]
        outside = taken[(frames.flags[taken] & PG.SWAPCACHE) == 0]
        got_slots = swap.add_to_swap(frames, outside)
        m.rmap.set_dirty(frames, outside[:got_slots])
        without_slot = outside[got_slots:]
        m.locks.unlock(without_slot)
        putback(m, without_slot)
        taken = taken[(frames.flags[taken] & PG.SWAPCACHE) != 0]
        SwapEntries().unmap(m, taken)
        dirty = (frames.flags[taken] & PG.DIRTY) != 0
        yield from m.step("unmap", m.costs.unmap * len(taken) + m.costs.tlb_flush)
        start_writing(m, taken[dirty])
        m.locks.unlock(taken[~dirty])
        for pfn in taken[dirty].tolist():
            yield from m.locks.wait_on_writeback(pfn)
        flags = frames.flags[taken]
        idle = (frames.mapcount[taken] == 0) & (frames.refcount[taken] == 2) & ((flags & PG.SWAPCACHE) != 0)
        idle &= (flags & (PG.LOCKED | PG.DIRTY | PG.WRITEBACK)) == 0
        out = taken[idle]
        swap.delete_from_cache(frames, out)
        frames.put(out)
        putback(m, taken[~idle])
        m.count("pgsteal", len(out))
        return len(out)

    def _kill_somebody(self, nodes: frozenset[int]) -> bool:
        """The task with the most memory on these nodes, of those that may use them (oom_cpuset_eligible()). False when
        nobody has any."""

        def held(task: Task) -> int:
            if not nodes & frozenset(self.m.cpusets.mems_allowed(task)):
                return 0
            vmas = task.mm.vmas if task.mm else []
            return sum(int(vma.nr_node[node]) for vma in vmas for node in nodes)

        victim = max(self.m.tasks.values(), key=lambda task: (held(task), task.pid), default=None)
        if victim is None or not held(victim):
            return False
        self.m.kill(victim, "out of memory")
        return True
