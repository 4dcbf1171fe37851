"""Memory accesses and the faults they take (mm/memory.c): anonymous pages, swap-cache pages, pages under migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames import PG, Pfns
from backend.emulator.mm import (
    PTE_DIRTY,
    PTE_MIGRATION,
    PTE_PRESENT,
    PTE_PROTNONE,
    PTE_SHIFT,
    PTE_SWAP,
    PTE_WRITE,
    PTE_YOUNG,
    VM,
    Indices,
    Mm,
    Vma,
)  # fmt: skip
from backend.emulator.page_lock import Events
from backend.emulator.swap_io import read_page
from backend.emulator.task import Task, Thread
from backend.kernel import Mode

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


class SegmentationFault(Exception):
    """An access outside of every VMA, or a write to a read-only one."""


class OutOfMemory(Exception):
    """No frame on any node that the policy allows: the task is killed."""


def access(m: Machine, task: Task, thread: Thread, address: int, write: bool) -> Events:
    """One access of one page, with all faults it takes. Returns the value read or written.

    Raises OutOfMemory when the task was killed for want of a frame, SegmentationFault.
    """
    while True:
        vma, index = _find(task, address, write)
        at = np.array([index], np.int64)
        pte = int(vma.pte[index])
        if pte & (PTE_PRESENT | PTE_PROTNONE) == PTE_PRESENT and (pte & PTE_WRITE or not write):
            vma.mark(m.frames, at, write)
            if write:
                m.store(vma, at)
            return int(m.frames.contents[pte >> PTE_SHIFT])
        if not pte and not write:
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
    """handle_mm_fault(), with mmap_sem held for reading: one step towards a PTE that allows the access."""
    vma, index = _find(task, address, write)
    pte = int(vma.pte[index])
    if not pte:
        if write:
            yield from room_for(m, task, vma, 1)
            if not vma.pte[index] and task.alive:
                anonymous_pages(m, task, thread, vma, np.array([index], np.int64))
    elif pte & PTE_SWAP:
        yield from _do_swap_page(m, task, thread, vma, index, pte, write)
    elif pte & PTE_MIGRATION:
        yield from _migration_entry_wait(m, pte)
    elif pte & PTE_PROTNONE:
        yield from m.balancing.do_numa_page(task, thread, vma, index, pte)
    elif write and not pte & PTE_WRITE:
        yield from _do_wp_page(m, task, thread, vma, index, pte)


def touch(m: Machine, task: Task, thread: Thread, start: int, index: Indices, write: bool) -> Events:
    """Access distinct pages, counted from the address `start`: those without obstacles at once, empty ones in a batch,
    the others one by one. Raises what `access` raises."""
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
        if write:
            m.store(vma, at)
        rest.append((local[~ready if write else ~ready & (pte != 0)]) + (vma.start - start) // m.page_size)
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
            empty = vma.pte[local] == 0
            slow += (vma.start + local[~empty] * m.page_size).tolist()
            empties = local[empty] if write else local[:0]
            at_once = _at_once(m, task, vma)
            for at in range(0, len(empties), at_once):
                yield from room_for(m, task, vma, len(empties[at : at + at_once]))
                _alive(task)
                part = empties[at : at + at_once]
                new = part[vma.pte[part] == 0]
                slow += (vma.start + part[vma.pte[part] != 0] * m.page_size).tolist()
                task.min_flt += len(new)
                anonymous_pages(m, task, thread, vma, new)
                vma.mark(m.frames, new, write)
                m.store(vma, new)
                fresh += len(new)
        yield from m.step("touch", m.costs.fault * fresh)
    finally:
        lock.up_read()
    for address in slow:
        yield from access(m, task, thread, address, write)


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


def _at_once(m: Machine, task: Task, vma: Vma) -> int:
    """Pages that a batch of faults brings in at once: a small part of the memory it may use, so that between them others
    can be written out to make room."""
    return max(1, min(4096, sum(m.frames.zones[node].pages for node in _nodes(m, task, vma)) // 16))


def _nodes(m: Machine, task: Task, vma: Vma) -> frozenset[int]:
    """The nodes that the policy allows for a new page."""
    return (vma.policy or task.policy).nodemask() or frozenset(m.memory_nodes)


def room_for(m: Machine, task: Task, vma: Vma, count: int) -> Events:
    """Reclaim where the nodes that the policy allows cannot give so many frames. Raises OutOfMemory when the task itself
    was killed for it."""
    nodes = _nodes(m, task, vma)
    if m.reclaim.short_of(count, nodes):
        yield from m.reclaim.make_room(task, count, nodes)
        if task.exited == "out of memory":
            raise OutOfMemory(f"{task.pid}: killed, out of memory")


def anonymous_pages(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> None:
    """do_anonymous_page() for a batch of empty PTEs: frames by policy, mapped writable and dirty.

    Raises OutOfMemory, after killing the task.
    """
    here = m.node_of_cpu.get(thread.cpu, m.first_node)
    pfns = alloc_by_policy(m, task, thread, vma, index, here)
    got = index[: len(pfns)]
    map_new(m, vma, got, pfns)
    m.reclaim.after_alloc()
    m.count("pgfault", len(pfns))
    if len(got) < len(index):
        m.kill(task, "out of memory")
        raise OutOfMemory(f"{task.pid}: no frame left for {len(index) - len(got)} pages")


def map_new(m: Machine, vma: Vma, index: Indices, pfns: Pfns) -> None:
    """Empty PTEs get freshly allocated frames: writable, dirty, young."""
    _enter(m, vma, index, pfns)
    vma.map(m.frames, index, pfns, PTE_WRITE | PTE_DIRTY | PTE_YOUNG)


def alloc_by_policy(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices, here: int) -> Pfns:
    """Frames in the order of `index`, from the nodes that the VMA's or the task's policy says (alloc_pages_vma())."""
    policy = vma.policy or task.policy
    near = m.nearest_memory(here)
    if policy.mode != Mode.INTERLEAVE:
        if policy.mode == Mode.PREFERRED_MANY:
            first = min(policy.nodes, key=lambda node: (m.distance(near, node), node))
            return m.frames.alloc(len(index), first, here=here)
        return m.frames.alloc(len(index), policy.preferred(near), nodemask=policy.nodemask(), here=here)
    if vma.policy is not None:
        wanted = policy.interleave_nodes(vma.pgoff + index)
    else:
        wanted = policy.interleave_nodes(thread.il_next + np.arange(len(index), dtype=np.int64))
        thread.il_next = (thread.il_next + len(index)) % len(policy.nodes)
    return _alloc_each(m, wanted, here)


def _alloc_each(m: Machine, wanted: NDArray[np.int64], here: int) -> Pfns:
    pfns = np.full(len(wanted), -1, np.int32)
    for node in np.unique(wanted).tolist():
        at = np.nonzero(wanted == node)[0]
        got = m.frames.alloc(len(at), node, here=here)
        pfns[at[: len(got)]] = got
        m.frames.zones[node].numastat["interleave_hit"] += int(np.count_nonzero(m.frames.nid[got] == node))
    short = np.nonzero(pfns < 0)[0]
    if len(short):
        surplus = pfns[short[0] :]
        m.frames.put(surplus[surplus >= 0])
        return pfns[: short[0]]
    return pfns


def _do_swap_page(
    m: Machine, task: Task, thread: Thread, vma: Vma, index: int, pte: int, write: bool
) -> Events:
    """A swap PTE: its page is in the swap cache, or is read into it first. After the lock the page is looked at again (patch 1 of Direct
    Migration V8): it may have migrated while the fault waited, and no longer be what the entry names."""
    frames, swap = m.frames, m.swap
    entry = pte >> PTE_SHIFT
    pfn = int(swap.cache[entry])
    if pfn < 0:
        yield from _swap_in(m, task, thread, vma, index, entry)
        return
    m.locks.get_page(pfn)
    yield from m.step("fault: reference taken", m.costs.lock)
    yield from m.locks.lock(pfn)
    at, one = np.array([index], np.int64), np.array([pfn], np.int32)
    if m.patches.swapcache_recheck and not frames.flags[pfn] & PG.SWAPCACHE:
        m.count("swapcache_rechecks", 1)
        m.locks.unlock(one)
        m.locks.put_page(pfn)
        return
    if vma.pte[index] != pte:
        m.locks.unlock(one)
        m.locks.put_page(pfn)
        return
    m.locks.transfer(pfn)
    vma.nr_swap -= 1
    vma.pte[index] = 0
    exclusive = bool(
        write
        and swap.swap_map[entry] == 2
        and not frames.mapcount[pfn]
        and not frames.flags[pfn] & PG.WRITEBACK
    )
    frames.mapping[pfn] = vma.anon_vma
    frames.index[pfn] = vma.pgoff + index
    vma.map(frames, at, one, PTE_YOUNG | (PTE_WRITE | PTE_DIRTY if exclusive else 0))
    swap.release(np.array([entry], np.int32))
    if exclusive:
        swap.delete_from_cache(frames, one)
    m.locks.unlock(one)
    m.count("swapcache_faults", 1)


def _swap_in(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, entry: int) -> Events:
    """A frame by the policy that is in force now, filled from the device. The fault then finds it in the swap cache."""
    here = m.node_of_cpu.get(thread.cpu, m.first_node)
    yield from room_for(m, task, vma, 1)
    if (
        m.swap.cache[entry] >= 0
        or not m.swap.swap_map[entry]
        or vma.pte[index] != entry << PTE_SHIFT | PTE_SWAP
    ):
        return
    new = alloc_by_policy(m, task, thread, vma, np.array([index], np.int64), here)
    if not len(new):
        m.kill(task, "out of memory")
        raise OutOfMemory(f"{task.pid}: no frame left to swap in")
    m.reclaim.after_alloc()
    m.count("pgmajfault", 1)
    yield from read_page(m, entry, int(new[0]))


def _do_wp_page(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events:
    """A write to a read-only PTE: a page that nobody else maps is reused, and leaves the swap cache; else it is copied."""
    frames = m.frames
    pfn = pte >> PTE_SHIFT
    at, one = np.array([index], np.int64), np.array([pfn], np.int32)
    m.locks.get_page(pfn)
    try:
        yield from m.locks.lock(pfn)
        same = vma.pte[index] == pte
        cached = bool(frames.flags[pfn] & PG.SWAPCACHE)
        alone = frames.mapcount[pfn] == 1 and not (cached and m.swap.swap_map[frames.private[pfn]] > 1)
        if same and alone:
            if cached and not frames.flags[pfn] & PG.WRITEBACK:
                m.swap.delete_from_cache(frames, one)
            vma.pte[index] = pte | PTE_WRITE
            vma.mark(frames, at, write=True)
            m.count("pgreuse", 1)
        m.locks.unlock(one)
        if same and not alone:
            yield from m.step("copy on write", m.costs.copy)
            yield from room_for(m, task, vma, 1)
            if vma.pte[index] == pte:
                _copy_on_write(m, task, thread, vma, at, one)
    finally:
        m.locks.put_page(pfn)


def _copy_on_write(m: Machine, task: Task, thread: Thread, vma: Vma, at: Indices, old: Pfns) -> None:
    """The PTE gets a page of its own with the same contents."""
    frames = m.frames
    here = m.node_of_cpu.get(thread.cpu, m.first_node)
    new = alloc_by_policy(m, task, thread, vma, at, here)
    if not len(new):
        m.kill(task, "out of memory")
        raise OutOfMemory(f"{task.pid}: no frame left for a copy")
    frames.contents[new] = frames.contents[old]
    _enter(m, vma, at, new)
    frames.put(vma.unmap(frames, at, 0))
    vma.map(frames, at, new, PTE_WRITE | PTE_DIRTY | PTE_YOUNG)
    m.count("pgcow", 1)


def _enter(m: Machine, vma: Vma, index: Indices, pfns: Pfns) -> None:
    """New anonymous pages get their mapping and their place on the LRU (page_add_new_anon_rmap(), lru_cache_add())."""
    frames = m.frames
    frames.mapping[pfns] = vma.anon_vma
    frames.index[pfns] = vma.pgoff + index
    frames.flags[pfns] |= PG.UPTODATE
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        frames.flags[pfns] |= PG.MLOCKED
    frames.add_lru(pfns, m.profile.new_anon_active)


def _migration_entry_wait(m: Machine, pte: int) -> Events:
    """linux-6: the page is being migrated; wait for its lock and look again (migration_entry_wait())."""
    pfn = pte >> PTE_SHIFT
    m.count("migration_waits", 1)
    yield from m.locks.wait(pfn)
