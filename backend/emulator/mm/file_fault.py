"""Faults on mappings of files and shared memory (mm/memory.c do_no_page(), mm/filemap.c filemap_nopage(),
mm/shmem.c)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_DIRTY, PTE_SHIFT, PTE_WRITE, PTE_YOUNG, PTE_ZERO, VM, Indices, Vma
from backend.emulator.mm.placing import (
    OutOfMemory,
    SegmentationFault,
    alloc_by_policy,
    alloc_for,
    map_new,
    mark_mlocked,
    room_for,
)
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.page_cache import add_buffers, lock_page, unlock_put
from backend.emulator.tasks.task import Task, Thread


class BusError(SegmentationFault):
    """An access to a mapping beyond the end of its file, or without a free hugetlb page (SIGBUS)."""


def do_no_page(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, write: bool) -> Events:
    """Fault on an empty PTE of a file mapping: maps the page from the page cache or the device. A write to a private
    mapping gets a copy.

    Raises BusError, OutOfMemory.
    """
    space = vma.file
    assert space is not None
    if not write and index in map_cached(m, vma, around(m, vma, np.array([index], np.int64)), write=False):
        m.count("pgfault", 1)
        return
    offset = vma.pgoff + index
    try:
        pfn: int = yield from lock_page(m, space, offset, lambda: _frame(m, task, thread, vma, index), cpu=thread.cpu)
    except OSError:
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left for a page of a file") from None
    if pfn < 0:
        raise BusError(f"{vma.start + index * m.page_size:x}")
    try:
        if write and not vma.shared:
            yield from _copy(m, task, thread, vma, index, pfn)
        elif not vma.pte[index] and not vma.unmapped:
            m.frames.refcount[pfn] += 1
            map_pages(m, vma, np.array([index], np.int64), np.array([pfn], np.int32), write)
            m.count("pgfault", 1)
    finally:
        unlock_put(m, pfn)


def map_cached(m: Machine, vma: Vma, index: Indices, write: bool) -> Indices:
    """Map pages at empty PTEs if they are in the page cache, up to date and unlocked (filemap_map_pages()). Returns the
    indices that were mapped."""
    space, frames = vma.file, m.frames
    if space is None or (write and not vma.shared):
        return index[:0]
    index = index[vma.pgoff + index < space.size]
    pfns = space.pages[vma.pgoff + index]
    index, pfns = index[pfns >= 0], pfns[pfns >= 0]
    ready = (frames.flags[pfns] & (PG.LOCKED | PG.UPTODATE)) == PG.UPTODATE
    index, pfns = index[ready], pfns[ready]
    frames.refcount[pfns] += 1
    map_pages(m, vma, index, pfns, write)
    return index


def around(m: Machine, vma: Vma, index: Indices) -> Indices:
    """The pages that a read fault on some may map with them, as far as they are cached: aligned groups, cut to the VMA
    (do_fault_around())."""
    size = m.profile.fault_around
    if size == 1:
        return index
    offset = vma.start // m.page_size
    firsts = np.unique((index + offset) // size) * size - offset
    pages = (firsts[:, None] + np.arange(size)).reshape(-1)
    return pages[(pages >= 0) & (pages < vma.pages) & (vma.pte[np.clip(pages, 0, vma.pages - 1)] == 0)]


def map_pages(m: Machine, vma: Vma, index: Indices, pfns: Pfns, write: bool) -> None:
    """Map pages of the file. The caller hands over a reference to each.

    PTEs of a writable shared mapping are writable at once. With `write_notify` those of files with a device are
    writable only after a write, which makes the page dirty (page_mkwrite())."""
    assert vma.file is not None
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        mark_mlocked(m, pfns[(m.frames.flags[pfns] & PG.MLOCKED) == 0], lock=True)
    notify = m.profile.write_notify and not vma.file.swap_backed
    writable = vma.shared and bool(vma.flags & VM.WRITE) and (write or not notify)
    if write and m.profile.write_notify:  # fault_dirty_shared_page()
        make_dirty(m, vma.file, pfns)
    bits = PTE_YOUNG | (PTE_WRITE if writable else 0) | (PTE_DIRTY if write else 0)
    vma.map(m.frames, index, pfns, bits)


def make_dirty(m: Machine, space: AddressSpace, pfns: Pfns) -> None:
    """Make pages dirty, and add buffers if the filesystem uses them (__set_page_dirty_buffers())."""
    if space.fs.type.buffers:
        add_buffers(m, pfns)
    m.rmap.set_dirty(m.frames, pfns)


def write_shared(m: Machine, vma: Vma, index: int, pte: int) -> Events:
    """A write to a read-only PTE of a shared mapping (do_wp_page() → page_mkwrite()): the page becomes dirty, then the
    PTE writable."""
    pfn = pte >> PTE_SHIFT
    m.locks.get_page(pfn)
    yield from m.locks.lock(pfn)
    space = vma.file
    # The page may have been truncated or migrated before the lock was taken.
    if space is not None and vma.pte[index] == pte and m.frames.mapping[pfn] == space.id:
        make_dirty(m, space, np.array([pfn], np.int32))
        vma.pte[index] = pte | PTE_WRITE
        vma.mark(m.frames, np.array([index], np.int64), write=True)
    unlock_put(m, pfn)


def _frame(m: Machine, task: Task, thread: Thread, vma: Vma, index: int) -> Events:
    """One frame for the page cache, by the policy of the shared memory or else the task's: that of another file's VMA
    is for its anonymous pages only. Empty if none is free."""
    shmem = vma.file is not None and vma.file.swap_backed
    own = vma.policy_at(index) if shmem else None
    yield from room_for(m, task, own or task.policy, 1)
    here = m.node_of_cpu.get(thread.cpu, m.first_node)
    offset = np.array([vma.pgoff + index], np.int64)
    got = alloc_by_policy(m, task, thread, own or task.policy, offset, here, by_offset=shmem)
    if task.mm is not None:
        m.frames.cgroup[got] = task.mm.cgroup
    m.reclaim.after_alloc()
    return got


def _copy(m: Machine, task: Task, thread: Thread, vma: Vma, index: int, pfn: int) -> Events:
    """do_cow_page(): map an anonymous page with the contents of the file page."""
    at = np.array([index], np.int64)
    yield from room_for(m, task, vma.policy_at(index) or task.policy, 1)
    # room_for() can sleep: check the PTE and the page again.
    empty = not vma.pte[index] or bool(vma.pte[index] & PTE_ZERO)
    if not empty or vma.unmapped or m.frames.mapping[pfn] >= 0:
        return
    new = alloc_for(m, task, thread, vma, at)
    if not len(new):
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left for a copy")
    m.reclaim.after_alloc()
    m.frames.contents[new] = m.frames.contents[pfn]
    map_new(m, vma, at, new, thread.cpu)
    if vma.expected is not None:
        vma.expected[at] = m.frames.contents[pfn]
    m.count("pgcow", 1)
    m.count("pgfault", 1)
