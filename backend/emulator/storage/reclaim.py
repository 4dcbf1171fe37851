"""Reclaim of pages that were not used recently (mm/vmscan.c), and the OOM killer (mm/oom_kill.c).

Each zone is scanned in frame order with a clock hand. Active pages that were not accessed since the last scan become
inactive. Inactive pages that were accessed become active. Other inactive pages are evicted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import simpy

from backend.emulator.frames.frames import split_huge
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.frames.zone import Zone
from backend.emulator.hooks import TIERING
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate, putback
from backend.emulator.migration.mechanism import SwapEntries
from backend.emulator.migration.methods import release_buffers
from backend.emulator.migration.migrate_page import in_cache
from backend.emulator.mm.mm import PTE_PRESENT, PTE_YOUNG, VM
from backend.emulator.storage.demotion import Why, demote, target_of
from backend.emulator.storage.page_cache import move_to_swap_cache, remove_mapping
from backend.emulator.storage.writeback import pageout
from backend.emulator.tasks.life import do_exit
from backend.emulator.tasks.task import Task

_WINDOW = 1024
"""Frames examined per scan."""
_CLUSTER = 64
"""Pages evicted per batch, unless more are wanted."""
_CONGESTION = 1e-3
"""Seconds that direct reclaim sleeps while pages are under writeback (congestion_wait(): up to HZ/10)."""
_RETRIES = 16
"""Rounds of proactive reclaim without progress (MAX_RECLAIM_RETRIES)."""
_IDLE_ROUNDS = 4
"""Rounds of the clock hand through a zone before reclaim gives up. An active, accessed page is evicted at its third
scan."""


class Reclaimer:
    """Reclaim of a machine: kswapd of every node, direct reclaim, the OOM killer."""

    @staticmethod
    def of(m: Machine) -> Reclaimer:
        """The reclaimer of a machine."""
        assert isinstance(m.reclaim, Reclaimer)
        return m.reclaim

    def __init__(self, m: Machine) -> None:
        self.m = m
        self._hand = dict.fromkeys(m.frames.zones, 0)
        self._wake: dict[int, simpy.Event] = {}
        for nid, zone in m.frames.zones.items():
            if zone.pages:
                self._wake[nid] = m.env.event()
                m.start(self._kswapd(zone), f"kswapd{nid}")

    def after_alloc(self) -> None:
        """Wake kswapd of the zones below their low watermark (wakeup_kswapd())."""
        for nid, wake in self._wake.items():
            zone = self.m.frames.zones[nid]
            if zone.free < zone.wmark_low and not zone.isolated and not wake.triggered:
                wake.succeed()

    def wake(self, node: int) -> None:
        """Wake kswapd of a node, which makes room up to the high watermark (wakeup_kswapd())."""
        if node in self._wake and not self._wake[node].triggered:
            self._wake[node].succeed()

    def short_of(self, count: int, nodes: Iterable[int]) -> int:
        """Number of frames that the nodes lack, above their min watermarks, to allocate `count`. 0: enough are free."""
        zones = (self.m.frames.zones[node] for node in nodes)
        return max(0, count - sum(max(0, zone.free - zone.wmark_min) for zone in zones))

    def make_room(self, task: Task, count: int, nodes: frozenset[int]) -> Events:
        """Direct reclaim for `task` until the nodes have `count` frames free (try_to_free_pages()). Without progress
        the OOM killer runs. Returns without enough frames if it finds no victim; the allocation then fails."""
        while task.alive and (short := self.short_of(count, nodes)):
            got = 0
            self.m.count("allocstall", 1)
            for node in sorted(nodes):
                got += yield from self._shrink(self.m.frames.zones[node], short, task.leader.cpu, "direct")
            if got:
                continue
            if self._writing(nodes):
                yield from self.m.step("congestion_wait", _CONGESTION)
            elif not self._kill_somebody(nodes):
                return

    def oom_kill(self, task: Task) -> None:
        """Kill a task because memory is exhausted (oom_kill_task())."""
        self.m.count("oom_kill", 1)
        do_exit(self.m, task, "out of memory")

    def free_some(self, count: int, nodes: Iterable[int]) -> Events:
        """One round of reclaim if the nodes lack frames to allocate `count`. Never kills a task."""
        if short := self.short_of(count, nodes):
            for node in sorted(nodes):
                yield from self._shrink(self.m.frames.zones[node], short, None, "direct")

    def proactive(self, count: int, nodes: Iterable[int], cgroups: frozenset[int] | None = None) -> Events:
        """Reclaim `count` pages of these nodes, as user space asks (user_proactive_reclaim()). `cgroups`: only pages
        charged to these. Returns the number reclaimed; fewer when there is no more to take."""
        got = 0
        for node in sorted(nodes):
            for _ in range(_RETRIES):
                more: int = 0
                if got < count:
                    zone = self.m.frames.zones[node]
                    more = yield from self._shrink(zone, count - got, None, "proactive", cgroups)
                got += more
                if not more:
                    break
        return got

    def _writing(self, nodes: frozenset[int]) -> bool:
        """Whether pages of these nodes are under writeback; they can be freed soon."""
        flags = self.m.frames.flags
        zones = (self.m.frames.zones[node] for node in nodes)
        return any((flags[zone.start : zone.start + zone.pages] & PG.WRITEBACK).any() for zone in zones)

    def _kswapd(self, zone: Zone) -> Events:
        cpus = self.m.node_of_cpu
        cpu = next((cpu for cpu, node in cpus.items() if node == zone.nid), next(iter(cpus), None))
        while True:
            yield self._wake[zone.nid]
            while (short := self._goal(zone) - zone.free) > 0 and not zone.isolated:
                got = yield from self._shrink(zone, short, cpu, "kswapd")
                self.m.count("kswapd_steal", got)
                if not got:
                    break
            self._wake[zone.nid] = self.m.env.event()

    def _goal(self, zone: Zone) -> int:
        """Up to where kswapd frees memory: the high watermark, or with memory tiering as much above it as the low one
        is below, for pages that are promoted (WMARK_PROMO, pgdat_balanced())."""
        spare = zone.wmark_high - zone.wmark_low if self.m.balancing.mode & TIERING else 0
        return zone.wmark_high + spare

    def _shrink(
        self, zone: Zone, wanted: int, cpu: int | None, why: Why, cgroups: frozenset[int] | None = None
    ) -> Events:
        """Reclaim about `wanted` frames of a zone (shrink_cache()). `cpu`: the CPU of the caller, whose pagevec is
        drained first. `cgroups`: only pages charged to these. Returns the number freed."""
        self.m.pagevecs.lru_add_drain(cpu)
        rounds = -(-zone.pages // _WINDOW) * _IDLE_ROUNDS
        target = target_of(self.m, zone)
        got = 0
        for _ in range(rounds):
            victims = self._scan(zone, cgroups)[: max(wanted, _CLUSTER)]
            if len(victims) and target is not None:
                moved: int = yield from demote(self.m, victims, target, why)
                got += moved
                # What cannot be demoted is reclaimed otherwise from here on, unless user space asked.
                target = target if moved or why == "proactive" else None
            elif len(victims):
                got += yield from self._page_out(victims)
            if got >= wanted:
                break
        yield from self.m.step("reclaim", self.m.costs.isolate * _WINDOW)
        return got

    def _scan(self, zone: Zone, cgroups: frozenset[int] | None) -> Pfns:
        """Age the pages in the next window of the clock hand, of these cgroups if any are given. Returns the pages to
        evict."""
        m, frames = self.m, self.m.frames
        start = zone.start + self._hand[zone.nid]
        end = min(start + _WINDOW, zone.start + zone.pages)
        self._hand[zone.nid] = 0 if end == zone.start + zone.pages else end - zone.start
        flags = frames.flags[start:end]
        usable = (frames.state[start:end] == State.IN_USE) & ((flags & PG.LRU) != 0)
        usable &= (flags & (PG.LOCKED | PG.WRITEBACK | PG.MLOCKED | PG.HUGETLB | PG.KSM)) == 0
        if cgroups is not None:
            usable &= np.isin(frames.cgroup[start:end], [*cgroups])
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
        """page_referenced(): returns (accessed, mlocked), one mask each. Clears the accessed bits of the PTEs."""
        touched, locked = np.zeros(len(pages), np.bool_), np.zeros(len(pages), np.bool_)
        for vma, at, index, pte in self.m.rmap.ptes(self.m.frames, pages, PTE_PRESENT, pages):
            touched[at] |= (pte & PTE_YOUNG) != 0
            vma.pte[index] &= ~np.int64(PTE_YOUNG)
            if vma.flags & VM.LOCKED:
                locked[at] = True
        return touched, locked

    def _set_active(self, pages: Pfns, active: bool) -> None:
        m, frames = self.m, self.m.frames
        frames.drop_lru(pages)
        frames.add_lru(pages, active)
        for vma, _, index, _ in m.rmap.ptes(frames, pages, PTE_PRESENT, pages):
            vma.nr_active += len(index) * (1 if active else -1)

    def _page_out(self, pages: Pfns) -> Events:
        """shrink_list(): add anonymous pages to the swap cache, unmap all pages, write dirty ones, and free the pages
        that nobody used meanwhile. Returns the number freed."""
        m, frames = self.m, self.m.frames
        split_huge(frames, pages)
        taken = isolate(m, pages, None, move_all=True)
        got = m.locks.trylock(taken)
        putback(m, taken[~got])
        taken = self._into_swap_cache(taken[got])
        SwapEntries().unmap(m, taken)
        yield from m.step("unmap", m.costs.unmap * len(taken) + m.costs.tlb_flush)
        taken = self._shared_into_swap_cache(taken)
        going = ((frames.flags[taken] & PG.DIRTY) != 0) & (frames.mapcount[taken] == 0)
        written = pageout(m, taken[going])
        locked = np.ones(len(taken), np.bool_)
        locked[np.nonzero(going)[0][written]] = False
        m.locks.unlock(taken[locked])
        for pfn in taken[~locked].tolist():
            yield from m.locks.wait_on_writeback(pfn)
        free = (frames.flags[taken] & (PG.LOCKED | PG.DIRTY | PG.WRITEBACK)) == 0
        free[free] = release_buffers(m, taken[free])
        # 2 references: the cache and the isolation (is_page_cache_freeable()).
        free &= (frames.mapcount[taken] == 0) & (frames.refcount[taken] == 2) & in_cache(m, taken)
        out = taken[free]
        remove_mapping(m, out)
        frames.put(out)
        putback(m, taken[~free])
        m.count("pgsteal", len(out))
        return len(out)

    def _into_swap_cache(self, pages: Pfns) -> Pfns:
        """Give locked anonymous pages a swap slot. Pages without a slot are unlocked and put back; returns the rest."""
        m, frames = self.m, self.m.frames
        needy = (frames.mapping[pages] > 0) & ((frames.flags[pages] & PG.SWAPCACHE) == 0)
        outside = pages[needy]
        got = m.swap.add_to_swap(frames, outside)
        m.rmap.set_dirty(frames, outside[:got])
        self._give_up(outside[got:])
        needy[np.nonzero(needy)[0][:got]] = False
        return pages[~needy]

    def _shared_into_swap_cache(self, pages: Pfns) -> Pfns:
        """The same for shared memory pages: unmapped ones move from their files to the swap cache."""
        m, frames = self.m, self.m.frames
        shared = (frames.mapping[pages] < 0) & ((frames.flags[pages] & PG.SWAPBACKED) != 0)
        free = shared & (frames.mapcount[pages] == 0)
        moved = move_to_swap_cache(m, pages[free])
        free[np.nonzero(free)[0][len(moved) :]] = False
        self._give_up(pages[shared & ~free])
        return pages[~shared | free]

    def _give_up(self, pages: Pfns) -> None:
        self.m.locks.unlock(pages)
        putback(self.m, pages)

    def _kill_somebody(self, nodes: frozenset[int]) -> bool:
        """Kill the task with the most pages on these nodes, among tasks whose cpuset allows them
        (oom_cpuset_eligible()). False if no task has any."""

        def held(task: Task) -> int:
            if not nodes & frozenset(self.m.cpusets.mems_allowed(task)):
                return 0
            vmas = task.mm.vmas if task.mm else []
            return sum(int(vma.nr_node[node]) for vma in vmas for node in nodes)

        victim = max(self.m.tasks.values(), key=lambda task: (held(task), task.pid), default=None)
        if victim is None or not held(victim):
            return False
        self.oom_kill(victim)
        return True
