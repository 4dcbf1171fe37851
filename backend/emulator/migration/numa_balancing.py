"""Automatic NUMA balancing of linux-6.

A scan makes PTEs inaccessible. The next access takes a hinting fault, which shows the thread and node that use the
page. Pages used from another node migrate there (kernel/sched/fair.c task_numa_work(), mm/memory.c do_numa_page(),
mm/mempolicy.c mpol_misplaced(), mm/migrate.c migrate_misplaced_page()).

Not modelled: moving tasks to their memory (task_numa_migrate()) and groups of threads that share pages (numa_group).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np

from backend.emulator.frames.page import PG
from backend.emulator.frames.page_lock import Events
from backend.emulator.hooks import NORMAL, TIERING
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate
from backend.emulator.migration.nodes import migrate_isolated
from backend.emulator.migration.promotion import Promotion
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
"""Delay and periods in seconds, and bytes of address space marked per window: the sysctl defaults of Linux 6.1."""
_FASTEST = 0.1
"""Shortest period in seconds: MAX_SCAN_WINDOW allows 2560 MiB per second, which is 10 windows (task_scan_min())."""
_VIRTUAL = 8
"""Most address space examined per window, in units of SCAN_SIZE (virtpages in task_numa_work()): it limits the cost of
ranges without pages to mark."""
# Windows end at a multiple of HPAGE_SIZE, in bytes (task_numa_work()).
_ALIGN = 2 << 20
_SLOTS, _THRESHOLD = 10, 7
"""NUMA_PERIOD_SLOTS, NUMA_PERIOD_THRESHOLD: the scan slows down at 70 % local faults or more."""
_EARLY_PASSES = 4
"""Passes over the address space during which private pages move at their first fault: the limit of numa_scan_seq in
should_numa_migrate_memory()."""
# LAST__PID_SHIFT, LAST__PID_MASK: page_cpupid_last() holds the low 8 bits of the thread id below the CPU number.
_PID_BITS, _PID_MASK = 8, 0xFF


@dataclass(slots=True)
class Scan:
    """State of the scan of an address space. `due`: time of the next window, in seconds since boot. `period`: seconds
    between windows. `offset`: next address. `passes`: completed passes. Hinting faults since the last pass: `local` to
    the page's node, `remote`, and `failed` to migrate."""

    due: float
    period: float
    offset: int = 0
    passes: int = 0
    local: int = 0
    remote: int = 0
    failed: int = 0


class NumaBalancing:
    """NUMA balancing of a machine. `mode` is the sysctl kernel.numa_balancing. After it is switched off, marked pages
    stay marked until their next access."""

    @staticmethod
    def of(m: Machine) -> NumaBalancing:
        """The NumaBalancing of a machine."""
        assert isinstance(m.balancing, NumaBalancing)
        return m.balancing

    def __init__(self, m: Machine) -> None:
        self.m = m
        self._mode = 0
        self._scans: dict[Mm, Scan] = {}
        self.promotion = Promotion(m)

    @property
    def mode(self) -> int:
        return self._mode

    @mode.setter
    def mode(self, mode: int) -> None:
        self._mode = mode
        if mode:
            self.m.frames.track_faults()

    def tick(self, task: Task, thread: Thread) -> Events:
        """Called for each running thread. When the scan is due, one thread marks the next window (task_tick_numa(),
        task_numa_work()). Skipped while mmap_sem is write-locked or contended (mmap_read_trylock())."""
        mm = task.mm
        if not self._mode or mm is None or not task.alive:
            return
        scan = self.scan_of(mm)
        if self.m.now < scan.due or mm.lock.writing or mm.lock.waiting:
            return
        scan.due = self.m.now + scan.period
        self.m.count("numa_pte_updates", updates := self._mark_window(task, thread, mm, scan))
        yield from self.m.step("task_numa_work", self.m.costs.isolate * updates + self.m.costs.tlb_flush)

    def scan_of(self, mm: Mm) -> Scan:
        """The scan state of an address space. Created at the first call; its first window is due SCAN_DELAY later."""
        scan = self._scans.get(mm)
        if scan is None:
            self._scans = {one: kept for one, kept in self._scans.items() if one.users}
            scan = self._scans[mm] = Scan(self.m.now + SCAN_DELAY, self._limits(mm)[0])
        return scan

    def _limits(self, mm: Mm) -> tuple[float, float]:
        """(shortest, longest) period in seconds, such that a pass over all resident pages takes 1 to 60 seconds
        (task_scan_min(), task_scan_max())."""
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
                now = change_prot_numa(self.m, vma, index, spared, self._where())
                marked = len(now)
                if self._mode & TIERING:
                    self.promotion.marked(vma.pfns(now))
                updates += marked
                # task_numa_work(): only ranges with marked PTEs count towards SCAN_SIZE.
                left -= end - at if marked else 0
                virtual -= end - at
                at = end
                if left <= 0 or virtual <= 0:
                    scan.offset = at
                    return updates
        self._end_of_pass(mm, scan)
        return updates

    def _where(self) -> frozenset[int] | None:
        """The nodes whose pages are marked; None for all. As memory tiering alone it looks at slow memory only."""
        return None if self._mode & NORMAL else self.promotion.slow

    def _end_of_pass(self, mm: Mm, scan: Scan) -> None:
        """Start a new pass with a new period (update_task_scan_period() without the private and shared counts). The
        period doubles if pages failed to migrate. Otherwise it grows by a tenth for each tenth of local faults above
        70 %, or shrinks by a tenth for each tenth below. Without faults it does not change."""
        shortest, longest = self._limits(mm)
        if scan.failed:
            scan.period *= 2
        elif scan.local + scan.remote:
            tenths = scan.local * _SLOTS // (scan.local + scan.remote) - _THRESHOLD
            # At exactly 70 % it grows by one tenth (slot = 1 in update_task_scan_period()).
            scan.period += (tenths or 1) * scan.period / _SLOTS
        scan.period = min(max(scan.period, shortest), longest)
        scan.offset = scan.local = scan.remote = scan.failed = 0
        scan.passes += 1

    def do_numa_page(self, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events:
        """Handle a hinting fault: migrate the page to the thread's node, or make it accessible in place."""
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
        if policy.mode == Mode.DEFAULT and self._wanted(thread, pfn, here, scan):
            slow = int(m.frames.nid[pfn]) in self.promotion.slow
            moved = yield from self._migrate_misplaced(pfn, here)
            scan.failed += not moved
            if moved and slow and here not in self.promotion.slow:
                m.count("pgpromote_success", 1)
        # The PTE may have changed during the migration (pte_same() in do_numa_page()).
        if vma.pte[index] == pte:
            vma.pte[index] = pte & ~PTE_PROTNONE | PTE_YOUNG

    def _wanted(self, thread: Thread, pfn: int, here: int, scan: Scan) -> bool:
        """Whether the page should come to the thread's node. In memory tiering, pages of slow memory are promoted when
        they are hot, whoever uses them."""
        slow = self.promotion.slow
        if self._mode & TIERING and int(self.m.frames.nid[pfn]) in slow and here not in slow:
            return self.promotion.is_hot(pfn, here)
        return bool(self._mode & NORMAL) and self._misplaced(thread, pfn, here, scan)

    def _misplaced(self, thread: Thread, pfn: int, here: int, scan: Scan) -> bool:
        """should_numa_migrate_memory(): whether a page used from another node should move there. A page of a single
        thread moves at its first fault during the first passes. Later, and for pages of several threads, the previous
        fault must have come from the same node."""
        frames = self.m.frames
        last_cpupid = frames.last_cpupid
        if frames.nid[pfn] == here or last_cpupid is None:
            return False
        last = int(last_cpupid[pfn])
        # CPU + 1, because 0 means no fault yet.
        last_cpupid[pfn] = (thread.cpu + 1) << _PID_BITS | thread.tid & _PID_MASK
        private = last & _PID_MASK == thread.tid & _PID_MASK
        if scan.passes <= _EARLY_PASSES and (not last or private):
            return True
        return not last or self.m.node_of_cpu[(last >> _PID_BITS) - 1] == here

    def _migrate_misplaced(self, pfn: int, target: int) -> Events:
        """migrate_misplaced_page(): move one page without waiting for locks or writeback. Returns False if the target
        is nearly full, or the page is busy, a dirty file page, not on the LRU, or mapped more than once."""
        m = self.m
        zone, flags = m.frames.zones[target], int(m.frames.flags[pfn])
        busy = PG.LOCKED | PG.WRITEBACK | (PG.DIRTY if m.frames.mapping[pfn] < 0 else 0)
        # migrate_balanced_pgdat(): the target must stay above its high watermark.
        if zone.free - 1 <= zone.wmark_high:
            if self._mode & TIERING:
                m.reclaim.wake(target)
            return False
        if flags & busy:
            return False
        taken = isolate(m, np.array([pfn], np.int32), None, move_all=False)
        if not len(taken) or (yield from migrate_isolated(m, taken, target)):
            return False
        m.count("numa_pages_migrated", 1)
        return True


def _scanned(task: Task, vma: Vma) -> bool:
    """Whether the scan covers a VMA: it is migratable and has the default policy (vma_migratable(), vma_policy_mof()).
    Read-only file mappings (programs, libraries) and shared memory, whose policy belongs to the object, are skipped."""
    if vma.file is not None and (vma.file.swap_backed or not vma.flags & VM.WRITE):
        return False
    return vma.migratable(mlocked_moves=True) and (vma.policy_at(0) or task.policy).mode == Mode.DEFAULT


def change_prot_numa(
    m: Machine, vma: Vma, index: Indices, spared: int | None, where: frozenset[int] | None = None
) -> Indices:
    """Mark present PTEs of a range, so that their next access takes a hinting fault (change_pte_range()). Returns
    those that were marked now.

    Skips pages of private VMAs with references besides the PTE (forked, pinned, in a cache, isolated), dirty pages of
    shared VMAs, pages on node `spared`, where a single-threaded task runs, and pages of other nodes than `where`, if
    that is given."""
    pte = vma.pte[index]
    index = index[(pte & (PTE_PRESENT | PTE_PROTNONE)) == PTE_PRESENT]
    pfns = vma.pfns(index)
    wanted = (m.frames.flags[pfns] & PG.DIRTY) == 0 if vma.shared else m.frames.refcount[pfns] == 1
    if spared is not None:
        wanted &= m.frames.nid[pfns] != spared
    if where is not None:
        wanted &= np.isin(m.frames.nid[pfns], [*where])
    vma.pte[index[wanted]] |= PTE_PROTNONE
    return index[wanted]


def write_sysctl(m: Machine, caller: Caller, data: bytes) -> None:
    """Set kernel.numa_balancing: bit 0 is NUMA balancing, bit 1 memory tiering where the kernel has tiers. Raises
    OSError ENOENT on a kernel without it, EACCES without privilege, EINVAL for other values."""
    if not m.profile.numa_balancing:
        raise os_error(errno.ENOENT)
    if not caller.privileged:
        raise os_error(errno.EACCES)
    modes = (b"0", b"1", b"2", b"3") if m.profile.tiers else (b"0", b"1")
    if data.strip() not in modes:
        raise os_error(errno.EINVAL)
    m.balancing.mode = int(data)
