"""Automatic NUMA balancing of linux-6: pages are made inaccessible for a moment, the fault of the next access tells who
uses them from where, and pages that are used from another node follow (kernel/sched/fair.c task_numa_work(),
mm/memory.c do_numa_page(), mm/mempolicy.c mpol_misplaced(), mm/migrate.c migrate_misplaced_page()).

Tasks are not moved to their memory, and threads that share pages form no groups.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np

from backend.emulator.frames.page import PG
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate
from backend.emulator.migration.nodes import migrate_isolated
from backend.emulator.mm.mm import (
    PTE_PRESENT,
    PTE_PROTNONE,
    PTE_SHIFT,
    PTE_YOUNG,
    VM,
    Indices,
    Mm,
    Vma,
)  # fmt: skip
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error
from backend.kernel import Mode

SYSCTL = "/proc/sys/kernel/numa_balancing"
SCAN_DELAY = 1.0
SCAN_PERIOD_MIN, SCAN_PERIOD_MAX = 1.0, 60.0
SCAN_SIZE = 256 << 20
"""The defaults of Linux 6.1: seconds, and bytes of address space marked in one go."""
_FASTEST = 0.1
"""MAX_SCAN_WINDOW: no more than 2560 MiB are marked in a second."""
_VIRTUAL = 8
"""Address space looked at in one go at most, in scan sizes: holes and pages that need no mark are cheap, not free."""
_ALIGN = 2 << 20
_SLOTS, _THRESHOLD = 10, 7
"""NUMA_PERIOD_SLOTS, NUMA_PERIOD_THRESHOLD: from 70 % local faults on it is scanned more slowly."""
_EARLY_PASSES = 4
"""Passes over the address space during which private pages move at their first fault."""
_PID_BITS, _PID_MASK = 8, 0xFF


@dataclass(slots=True)
class Scan:
    """How far the scan of an address space is. `due`: when it may go on, `period`: seconds between two windows,
    `offset`: the address it goes on at, `passes`: how often it came to the end. The faults since the last end: from
    the page's own node, from others, and those whose page should have moved and did not."""

    due: float
    period: float
    offset: int = 0
    passes: int = 0
    local: int = 0
    remote: int = 0
    failed: int = 0


class NumaBalancing:
    """One for a machine. `on` is the sysctl kernel.numa_balancing; pages that are marked when it is switched off stay
    so until they are touched."""

    @staticmethod
    def of(m: Machine) -> NumaBalancing:
        """The machine's own."""
        assert isinstance(m.balancing, NumaBalancing)
        return m.balancing

    def __init__(self, m: Machine) -> None:
        self.m = m
        self._on = False
        self._scans: dict[Mm, Scan] = {}

    @property
    def on(self) -> bool:
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        if on:
            self.m.frames.track_faults()

    def tick(self, task: Task, thread: Thread) -> Events:
        """What a running thread does for the scan (task_tick_numa(), task_numa_work()): when it is due, one thread
        marks the next window. Nothing while somebody changes the address space."""
        mm = task.mm
        if not self._on or mm is None or not task.alive:
            return
        scan = self.scan_of(mm)
        if self.m.now < scan.due or mm.lock.writing or mm.lock.waiting:
            return
        scan.due = self.m.now + scan.period
        self.m.count("numa_pte_updates", updates := self._mark_window(task, thread, mm, scan))
        yield from self.m.step("task_numa_work", self.m.costs.isolate * updates + self.m.costs.tlb_flush)

    def scan_of(self, mm: Mm) -> Scan:
        """Made at the first tick: the first window is due a second later."""
        scan = self._scans.get(mm)
        if scan is None:
            self._scans = {one: kept for one, kept in self._scans.items() if one.users}
            scan = self._scans[mm] = Scan(self.m.now + SCAN_DELAY, self._limits(mm)[0])
        return scan

    def _limits(self, mm: Mm) -> tuple[float, float]:
        """The shortest and the longest period: a pass over all resident pages takes 1 to 60 seconds (task_scan_min(),
        task_scan_max())."""
        windows = max(1, -(-mm.rss * mm.page_size // SCAN_SIZE))
        shortest = max(_FASTEST, SCAN_PERIOD_MIN / windows)
        return shortest, max(shortest, SCAN_PERIOD_MAX / windows)

    def _mark_window(self, task: Task, thread: Thread, mm: Mm, scan: Scan) -> int:
        page = mm.page_size
        left, virtual, updates = SCAN_SIZE, _VIRTUAL * SCAN_SIZE, 0
        alone = len(task.threads) == 1 and mm.users == 1
        spared = self.m.node_of_cpu[thread.cpu] if alone else None
        if not any(vma.end > scan.offset for vma in mm.vmas):
            self._end_of_pass(mm, scan)
        for vma in mm.vmas:
            at = max(scan.offset, vma.start)
            if not _scanned(task, vma):
                continue
            while at < vma.end:
                end = min(vma.end, -(-(at + left) // _ALIGN) * _ALIGN)
                index = np.arange((at - vma.start) // page, (end - vma.start) // page, dtype=np.int64)
                marked = change_prot_numa(self.m, vma, index, spared)
                updates += marked
                left -= end - at if marked else 0
                virtual -= end - at
                at = end
                if left <= 0 or virtual <= 0:
                    scan.offset = at
                    return updates
        self._end_of_pass(mm, scan)
        return updates

    def _end_of_pass(self, mm: Mm, scan: Scan) -> None:
        """Back to the start, at a new pace (update_task_scan_period() without the private and shared counts): twice as
        slow where pages failed to move; else a tenth of the period slower for every tenth of local faults beyond 70 %,
        faster for every tenth below. Without any fault the pace stays."""
        shortest, longest = self._limits(mm)
        if scan.failed:
            scan.period *= 2
        elif scan.local + scan.remote:
            tenths = scan.local * _SLOTS // (scan.local + scan.remote) - _THRESHOLD
            scan.period += (tenths or 1) * scan.period / _SLOTS
        scan.period = min(max(scan.period, shortest), longest)
        scan.offset = scan.local = scan.remote = scan.failed = 0
        scan.passes += 1

    def do_numa_page(self, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events:
        """The hinting fault on a marked page: it moves to the thread's node or becomes accessible where it is."""
        m = self.m
        pfn = pte >> PTE_SHIFT
        scan = self.scan_of(vma.mm)
        here = m.node_of_cpu.get(thread.cpu, m.first_node)
        m.count("numa_hint_faults", 1)
        if m.frames.nid[pfn] == here:
            m.count("numa_hint_faults_local", 1)
            scan.local += 1
        else:
            scan.remote += 1
        policy = vma.policy_at(index) or task.policy
        if policy.mode == Mode.DEFAULT and self._misplaced(thread, pfn, here, scan):
            moved = yield from self._migrate_misplaced(pfn, here)
            scan.failed += not moved
        if vma.pte[index] == pte:
            vma.pte[index] = pte & ~PTE_PROTNONE | PTE_YOUNG

    def _misplaced(self, thread: Thread, pfn: int, here: int, scan: Scan) -> bool:
        """should_numa_migrate_memory(): used from another node. Pages of one thread move at once during the first
        passes; after that, and those of several always, only when the fault before came from this node too."""
        frames = self.m.frames
        last_cpupid = frames.last_cpupid
        if frames.nid[pfn] == here or last_cpupid is None:
            return False
        last = int(last_cpupid[pfn])
        last_cpupid[pfn] = (thread.cpu + 1) << _PID_BITS | thread.tid & _PID_MASK
        private = last & _PID_MASK == thread.tid & _PID_MASK
        if scan.passes <= _EARLY_PASSES and (not last or private):
            return True
        return not last or self.m.node_of_cpu[(last >> _PID_BITS) - 1] == here

    def _migrate_misplaced(self, pfn: int, target: int) -> Events:
        """migrate_misplaced_page(): one page, without waiting for locks or writes. False: the target is nearly full,
        the page is busy, a dirty file page, off the LRU or mapped by others."""
        m = self.m
        zone, flags = m.frames.zones[target], int(m.frames.flags[pfn])
        busy = PG.LOCKED | PG.WRITEBACK | (PG.DIRTY if m.frames.mapping[pfn] < 0 else 0)
        if zone.free - 1 <= zone.wmark_high or flags & busy:
            return False
        taken = isolate(m, np.array([pfn], np.int32), None, move_all=False)
        if not len(taken) or (yield from migrate_isolated(m, taken, target)):
            return False
        m.count("numa_pages_migrated", 1)
        return True


def _scanned(task: Task, vma: Vma) -> bool:
    """Mappings that can move, and whose placement nobody has chosen (vma_migratable(), vma_policy_mof()). Not: files
    mapped for reading only (programs, libraries), and shared memory, which has its policy with the object."""
    if vma.file is not None and (vma.file.swap_backed or not vma.flags & VM.WRITE):
        return False
    return vma.migratable(mlocked_moves=True) and (vma.policy_at(0) or task.policy).mode == Mode.DEFAULT


def change_prot_numa(m: Machine, vma: Vma, index: Indices, spared: int | None) -> int:
    """Mark present pages of a range: their next access is a hinting fault. Left out: in private mappings pages that are
    referenced by more than this PTE (forked, pinned, in a cache, isolated), in shared ones dirty pages; and those on
    the node `spared`, where a task that has a single thread runs. Returns how many were marked."""
    pte = vma.pte[index]
    index = index[(pte & (PTE_PRESENT | PTE_PROTNONE)) == PTE_PRESENT]
    pfns = vma.pfns(index)
    wanted = (m.frames.flags[pfns] & PG.DIRTY) == 0 if vma.shared else m.frames.refcount[pfns] == 1
    if spared is not None:
        wanted &= m.frames.nid[pfns] != spared
    vma.pte[index[wanted]] |= PTE_PROTNONE
    return int(np.count_nonzero(wanted))


def write_sysctl(m: Machine, caller: Caller, data: bytes) -> None:
    """kernel.numa_balancing = 0 or 1. OSError EACCES, EINVAL (also for 2, memory tiering), ENOENT: no such kernel."""
    if not m.profile.numa_balancing:
        raise os_error(errno.ENOENT)
    if not caller.privileged:
        raise os_error(errno.EACCES)
    if data.strip() not in (b"0", b"1"):
        raise os_error(errno.EINVAL)
    m.balancing.on = data.strip() == b"1"
