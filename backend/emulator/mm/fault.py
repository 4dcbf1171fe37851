"""Memory accesses and page faults (mm/memory.c): anonymous pages, swap-cache pages, pages under migration."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.file_fault import around, do_no_page, map_cached, write_shared
from backend.emulator.mm.huge_fault import copy_hugetlb, fault_huge, may_be_huge, read_zero, shared_block, wants_huge
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import (
    PTE_DIRTY,
    PTE_MIGRATION,
    PTE_PRESENT,
    PTE_PROTNONE,
    PTE_SHIFT,
    PTE_SWAP,
    PTE_WRITE,
    PTE_YOUNG,
    PTE_ZERO,
    VM,
    Indices,
    Mm,
    Vma,
)  # fmt: skip
from backend.emulator.mm.mmap import store_values
from backend.emulator.mm.placing import (
    OutOfMemory,
    SegmentationFault,
    alloc_for,
    enter_anonymous,
    map_new,
    nodes_allowed,
    room_for,
)
from backend.emulator.storage.page_cache import unlock_put
from backend.emulator.storage.swap_io import left_swap_cache, map_swapped, read_page
from backend.emulator.tasks.task import Task, Thread


def access(m: Machine, task: Task, thread: Thread, address: int, write: bool, store: bool = True) -> Events:
    """Access one page and handle the faults that this takes. Returns the value read or written. `store` False: make the
    page writable, but write nothing.

    Raises OutOfMemory when the task was killed because no frame is free, SegmentationFault for a bad address.
    """
    while True:
        vma, index = _find(task, address, write)
        at = np.array([index], np.int64)
        pte = int(vma.pte[index])
        if pte & (PTE_PRESENT | PTE_PROTNONE) == PTE_PRESENT and (pte & PTE_WRITE or not write):
            vma.mark(m.frames, at, write)
            if write and store:
                store_values(m, vma, at)
            return int(m.frames.contents[pte >> PTE_SHIFT])
        if pte & PTE_ZERO and not write:
            return 0
        task.min_flt += 1
        lock = vma.mm.lock
        yield from lock.down_read(m.env)
        try:
            yield from m.step("fault", m.costs.fault)
            yield from _handle_fault(m, task, thread, address, write)
        finally:
            lock.up_read()


def _handle_fault(m: Machine, task: Task, thread: Thread, address: int, write: bool) -> Events:
    """handle_mm_fault(), with mmap_sem held for reading. One step towards a PTE that allows the access; access()
    retries until it does."""
    vma, index = _find(task, address, write)
    pte = int(vma.pte[index])
    if not pte and vma.file is not None:
        yield from do_no_page(m, task, thread, vma, index, write)
    elif may_be_huge(m, pte) and wants_huge(vma, write) and fault_huge(m, task, thread, vma, _one(index)):
        pass
    elif not pte and not write:
        read_zero(m, vma, _one(index))
    elif not pte or pte & PTE_ZERO:
        yield from room_for(m, task, _policy(task, vma, index), 1)
        # room_for() can sleep: the pte_none() test of do_anonymous_page().
        if vma.pte[index] == pte and task.alive and not vma.unmapped:
            anonymous_pages(m, task, thread, vma, _one(index))
    elif pte & PTE_SWAP:
        yield from _do_swap_page(m, task, thread, vma, index, pte, write)
    elif pte & PTE_MIGRATION:
        yield from _migration_entry_wait(m, pte)
    elif pte & PTE_PROTNONE:
        yield from m.balancing.do_numa_page(task, thread, vma, index, pte)
    elif write and not pte & PTE_WRITE and vma.shared:
        yield from write_shared(m, vma, index, pte)
    elif write and not pte & PTE_WRITE:
        yield from _do_wp_page(m, task, thread, vma, index, pte)


def _one(index: int) -> Indices:
    return np.array([index], np.int64)


def touch(
    m: Machine, task: Task, thread: Thread, start: int, index: Indices, write: bool, store: bool = True
) -> Events:
    """Access distinct pages; `index` counts pages from the address `start`. Pages that need no fault are accessed at
    once, empty PTEs are filled in batches, other pages fault one by one. `store` False: nothing is written. Raises the
    same as `access`."""
    mm = _alive(task)
    rest: list[Indices] = []
    found = 0
    for vma, local in mm.spans(start, index):
        _writable(vma, write)
        found += len(local)
        pte = vma.pte[local]
        ready = (pte & (PTE_PRESENT | PTE_PROTNONE)) == PTE_PRESENT
        if write:
            ready &= (pte & PTE_WRITE) != 0
        at = local[ready]
        vma.mark(m.frames, at, write)
        if write and store:
            store_values(m, vma, at)
        if not write:
            ready |= (pte & PTE_ZERO) != 0
        rest.append(local[~ready] + (vma.start - start) // m.page_size)
    if found < len(index):
        raise SegmentationFault(f"{start:x}")
    waiting = np.concatenate([index[:0], *rest])
    if not len(waiting):
        yield from m.step("touch", 0.0)
        return
    lock = mm.lock
    slow: list[int] = []
    yield from lock.down_read(m.env)
    try:
        fresh = 0
        for vma, local in _alive(task).spans(start, waiting):
            _writable(vma, write)
            new, others = yield from _touch_empty(m, task, thread, vma, local, write, store)
            fresh += new
            slow += (vma.start + others * m.page_size).tolist()
        yield from m.step("touch", m.costs.fault * fresh)
    finally:
        lock.up_read()
    for address in slow:
        yield from access(m, task, thread, address, write, store)


def _touch_empty(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices, write: bool, store: bool) -> Events:
    """Fill empty PTEs in batches. Returns (number filled, pages that have to be accessed one by one)."""
    if vma.file is not None:
        empty = index[vma.pte[index] == 0]
        mapped = map_cached(m, vma, empty if write else around(m, vma, empty), write)
        task.min_flt += len(mapped)
        if write and store:
            store_values(m, vma, mapped)
        return len(mapped), index[~np.isin(index, mapped)]
    huge = 0
    if wants_huge(vma, write):
        pte = vma.pte[index]
        empty = index[(pte == 0) | (m.profile.huge_over_zero & (pte == PTE_ZERO))]
        huge = fault_huge(m, task, thread, vma, empty)
        there = empty[(vma.pte[empty] & PTE_PRESENT) != 0]
        if write and store:
            store_values(m, vma, there)
        index = index[~np.isin(index, there)]
    pte = vma.pte[index]
    if not write:
        read_zero(m, vma, index[pte == 0])
        task.min_flt += int(np.count_nonzero(pte == 0))
        return int(np.count_nonzero(pte == 0)), index[pte != 0]
    empty = (pte & ~np.int64(PTE_ZERO)) == 0
    others, empties = [index[~empty]], index[empty]
    fresh = huge
    at_once = _at_once(m, task, _policy(task, vma, 0))
    for at in range(0, len(empties), at_once):
        part = empties[at : at + at_once]
        yield from room_for(m, task, _policy(task, vma, int(part[0])), len(part))
        # room_for() can sleep: check the task, the VMA and the PTEs again.
        _alive(task)
        if vma.unmapped:
            others.append(empties[at:])
            break
        still = (vma.pte[part] & ~np.int64(PTE_ZERO)) == 0
        new = part[still]
        others.append(part[~still])
        task.min_flt += len(new)
        anonymous_pages(m, task, thread, vma, new)
        vma.mark(m.frames, new, write)
        if store:
            store_values(m, vma, new)
        fresh += len(new)
    return fresh, np.concatenate(others)


def _alive(task: Task) -> Mm:
    if not task.alive or task.mm is None:
        raise SegmentationFault(f"{task.pid} has exited")
    return task.mm


def _writable(vma: Vma, write: bool) -> None:
    if write and not vma.flags & VM.WRITE:
        raise SegmentationFault(f"{vma.start:x}")


def _find(task: Task, address: int, write: bool) -> tuple[Vma, int]:
    vma = _alive(task).find(address)
    if vma is None:
        raise SegmentationFault(f"{address:x}")
    _writable(vma, write)
    return vma, (address - vma.start) // vma.mm.page_size


def _policy(task: Task, vma: Vma, index: int) -> Mempolicy:
    return vma.policy_at(index) or task.policy


def _at_once(m: Machine, task: Task, policy: Mempolicy) -> int:
    """Pages per batch of faults: at most 1/16 of the memory that the policy allows, so that reclaim can write other
    pages out between batches."""
    nodes = nodes_allowed(m, task, policy)
    return max(1, min(4096, sum(m.frames.zones[node].pages for node in nodes) // 16))


def anonymous_pages(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> None:
    """do_anonymous_page() for a batch of empty PTEs: allocate frames by policy, map them writable and dirty.

    Kills the task and raises OutOfMemory when frames run out.
    """
    pfns = alloc_for(m, task, thread, vma, index)
    got = index[: len(pfns)]
    map_new(m, vma, got, pfns, thread.cpu)
    m.reclaim.after_alloc()
    m.count("pgfault", len(pfns))
    if len(got) < len(index):
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left for {len(index) - len(got)} pages")


def _do_swap_page(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, pte: int, write: bool) -> Events:
    """do_swap_page(): map the page of a swap PTE from the swap cache, or read it into the swap cache first.

    The page is checked again after its lock is taken (patch 1 of Direct Migration V8): it may have migrated while the
    fault waited."""
    frames, swap = m.frames, m.swap
    entry = pte >> PTE_SHIFT
    pfn = int(swap.cache[entry])
    if pfn < 0:
        yield from _swap_in(m, task, thread, vma, index, entry)
        return
    m.locks.get_page(pfn)
    yield from m.step("fault: reference taken", m.costs.lock)
    yield from m.locks.lock(pfn)
    if left_swap_cache(m, pfn) or vma.pte[index] != pte:
        unlock_put(m, pfn)
        return
    # can_share_swap_page(): the only users of the slot are this PTE and the swap cache.
    exclusive = bool(
        write and swap.swap_map[entry] == 2 and not frames.mapcount[pfn] and not frames.flags[pfn] & PG.WRITEBACK
    )
    frames.cgroup[pfn] = frames.cgroup[pfn] or vma.mm.cgroup
    map_swapped(m, vma, index, pfn, PTE_YOUNG | (PTE_WRITE | PTE_DIRTY if exclusive else 0))
    one = np.array([pfn], np.int32)
    if exclusive:
        swap.delete_from_cache(frames, one)
    m.locks.unlock(one)
    m.count("swapcache_faults", 1)


def _swap_in(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, entry: int) -> Events:
    """Read a slot into a frame allocated by the current policy (swapin_readahead()). The retried fault finds it in the
    swap cache."""
    yield from room_for(m, task, _policy(task, vma, index), 1)
    # room_for() can sleep: another task may have read the slot or freed it.
    if m.swap.cache[entry] >= 0 or not m.swap.swap_map[entry] or vma.pte[index] != entry << PTE_SHIFT | PTE_SWAP:
        return
    new = alloc_for(m, task, thread, vma, np.array([index], np.int64))
    if not len(new):
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left to swap in")
    m.reclaim.after_alloc()
    m.count("pgmajfault", 1)
    yield from read_page(m, entry, int(new[0]), thread.cpu)


def _do_wp_page(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events:
    """do_wp_page(), a write to a read-only PTE. A page that no other PTE or swap entry refers to is reused and leaves
    the swap cache. Any other page is copied."""
    frames = m.frames
    pfn = pte >> PTE_SHIFT
    at, one = np.array([index], np.int64), np.array([pfn], np.int32)
    m.locks.get_page(pfn)
    try:
        yield from m.locks.lock(pfn)
        same = vma.pte[index] == pte
        cached = bool(frames.flags[pfn] & PG.SWAPCACHE)
        alone = (
            frames.mapping[pfn] > 0
            and not frames.flags[pfn] & PG.KSM
            and frames.mapcount[pfn] == 1
            and not (frames.flags[pfn] & PG.COMPOUND and shared_block(m, vma, index, pfn))
            and not (cached and m.swap.swap_map[frames.private[pfn]] > 1)
        )
        if same and alone:
            if cached and not frames.flags[pfn] & PG.WRITEBACK:
                m.swap.delete_from_cache(frames, one)
            vma.pte[index] = pte | PTE_WRITE
            vma.mark(frames, at, write=True)
            m.count("pgreuse", 1)
        m.locks.unlock(one)
        if same and not alone and vma.flags & VM.HUGETLB:
            copy_hugetlb(m, task, thread, vma, index)
        elif same and not alone:
            yield from m.step("copy on write", m.costs.copy)
            yield from room_for(m, task, _policy(task, vma, index), 1)
            # The pte_same() test of wp_page_copy(): the PTE may have changed during the sleep.
            if vma.pte[index] == pte:
                _copy_on_write(m, task, thread, vma, at, one)
    finally:
        m.locks.put_page(pfn)


def _copy_on_write(m: Machine, task: Task, thread: Thread, vma: Vma, at: Indices, old: Pfns) -> None:
    """Map a private copy of the page (wp_page_copy()). Kills the task and raises OutOfMemory if no frame is free."""
    frames = m.frames
    new = alloc_for(m, task, thread, vma, at)
    if not len(new):
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left for a copy")
    frames.contents[new] = frames.contents[old]
    if vma.expected is not None and frames.mapping[old[0]] < 0:
        vma.expected[at] = frames.contents[old]
    enter_anonymous(m, vma, at, new, thread.cpu)
    frames.put(vma.unmap(frames, at, 0))
    vma.map(frames, at, new, PTE_WRITE | PTE_DIRTY | PTE_YOUNG)
    m.count("pgcow", 1)


def _migration_entry_wait(m: Machine, pte: int) -> Events:
    """linux-6: the page is being migrated. Wait for its lock; the caller retries the fault (migration_entry_wait())."""
    pfn = pte >> PTE_SHIFT
    m.count("migration_waits", 1)
    yield from m.locks.wait(pfn)
