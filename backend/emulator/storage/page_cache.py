"""The page cache: frames of file pages (mm/filemap.c, mm/truncate.c, mm/shmem.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import numpy as np

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import Indices, by_mapping
from backend.emulator.mm.zap import zap
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.swap_io import drop_unused, left_swap_cache, read_page

Allocate = Callable[[], Events]
"""A kernel path that returns one frame, or an empty batch if none is free. It may sleep."""


def add(m: Machine, space: AddressSpace, index: Indices, pfns: Pfns, cpu: int | None = None) -> None:
    """Enter new frames as pages of a file (add_to_page_cache_lru()). The page cache takes a reference of its own. The
    frames go to the LRU through the pagevec of `cpu`; None: at once."""
    frames = m.frames
    frames.mapping[pfns] = space.id
    frames.index[pfns] = index
    frames.refcount[pfns] += 1
    if space.swap_backed:
        frames.flags[pfns] |= PG.SWAPBACKED
    space.pages[index] = pfns
    frames.count_cache(pfns, +1)
    m.pagevecs.lru_cache_add(pfns, False, cpu)


def remove(m: Machine, pfns: Pfns) -> None:
    """Remove unmapped pages of one file from the page cache (remove_from_page_cache()). Clears their mapping and drops
    the buffers and the reference of the cache."""
    if not len(pfns):
        return
    frames = m.frames
    space = m.rmap.spaces[int(frames.mapping[pfns[0]])]
    m.rmap.clear_dirty(frames, pfns)
    drop_buffers(m, pfns)
    space.pages[frames.index[pfns]] = -1
    frames.count_cache(pfns, -1)
    frames.mapping[pfns] = 0
    frames.index[pfns] = 0
    frames.put(pfns)


def remove_mapping(m: Machine, pages: Pfns) -> None:
    """Remove unmapped pages without buffers from the swap cache or the page cache (remove_mapping() in mm/vmscan.c)."""
    swapped = (m.frames.flags[pages] & PG.SWAPCACHE) != 0
    m.swap.delete_from_cache(m.frames, pages[swapped])
    for _, mine in by_space(m, pages[~swapped]):
        remove(m, mine)


def drop_buffers(m: Machine, pfns: Pfns) -> None:
    """Free the buffers of pages and drop their references (try_to_free_buffers())."""
    frames = m.frames
    having = pick(pfns, (frames.flags[span(pfns)] & PG.PRIVATE) != 0)
    frames.flags[span(having)] &= ~np.uint32(PG.PRIVATE)
    frames.refcount[span(having)] -= 1


def add_buffers(m: Machine, pfns: Pfns) -> None:
    """Add buffers to pages without them; the buffers hold a reference (create_empty_buffers())."""
    frames = m.frames
    lacking = pfns[(frames.flags[pfns] & PG.PRIVATE) == 0]
    frames.flags[lacking] |= PG.PRIVATE
    frames.refcount[lacking] += 1


def by_space(m: Machine, pfns: Pfns) -> list[tuple[AddressSpace, Pfns]]:
    """(file, its pages) for the page-cache pages of a batch."""
    return [(m.rmap.spaces[number], mine) for number, mine in by_mapping(m.frames, pfns) if number < 0]


def lock_page(
    m: Machine,
    space: AddressSpace,
    index: int,
    allocate: Allocate,
    fill: bool = True,
    cpu: int | None = None,
) -> Events:
    """find_or_create_page(): the page of a file, read if needed, locked and with a temporary reference.

    Returns the pfn, or -1 if the page is beyond the end of the file, also after a concurrent truncate. `fill` False:
    the caller overwrites the page, nothing is read. `cpu`: the CPU of the caller. Raises OSError ENOMEM, and what
    `allocate` raises."""
    frames = m.frames
    while True:
        if index >= space.size:
            return -1
        pfn = int(space.pages[index])
        if pfn >= 0:
            m.locks.get_page(pfn)
            yield from m.step("page cache: reference taken", m.costs.lock)
            yield from m.locks.lock(pfn)
            # find_lock_page() checks again with the lock: the page may have been truncated or migrated.
            if frames.mapping[pfn] == space.id and frames.index[pfn] == index:
                return pfn
            unlock_put(m, pfn)
            continue
        if space.swapped[index] >= 0:
            yield from _from_swap(m, space, index, allocate, cpu)
            continue
        new: Pfns = yield from allocate()
        if not len(new):
            raise OSError(errno.ENOMEM, "no frame for a page of a file")
        # allocate() can sleep: another task may have added the page or truncated the file.
        if index >= space.size or space.pages[index] >= 0 or space.swapped[index] >= 0:
            frames.put(new)
            continue
        pfn = int(new[0])
        m.locks.trylock(new)
        m.locks.holders[pfn] += 1
        add(m, space, np.array([index], np.int64), new, cpu)
        if fill and not space.swap_backed:
            yield from space.fs.device.request(m.env, space.fs.read)
            if frames.mapping[pfn] == space.id:
                frames.contents[pfn] = space.device[index]
            m.count("pgpgin", 1)
        frames.flags[pfn] |= PG.UPTODATE
        if frames.mapping[pfn] == space.id:
            return pfn
        unlock_put(m, pfn)


def unlock_put(m: Machine, pfn: int) -> None:
    """Unlock a page and drop its temporary reference."""
    m.locks.unlock(np.array([pfn], np.int32))
    m.locks.put_page(pfn)


def _from_swap(m: Machine, space: AddressSpace, index: int, allocate: Allocate, cpu: int | None) -> Events:
    """One step towards a shared memory page that is in swap (shmem_getpage(), move_from_swap_cache()): read it into the
    swap cache, or move it from there to the file. The page is checked again after its lock is taken (patch 1)."""
    frames, swap = m.frames, m.swap
    entry = int(space.swapped[index])
    pfn = int(swap.cache[entry])
    if pfn < 0:
        new: Pfns = yield from allocate()
        if not len(new):
            raise OSError(errno.ENOMEM, "no frame for a page of shared memory")
        if index >= space.size or space.swapped[index] != entry or swap.cache[entry] >= 0:
            frames.put(new)
            return
        m.count("pgmajfault", 1)
        yield from read_page(m, entry, int(new[0]), cpu)
        return
    m.locks.get_page(pfn)
    yield from m.step("page cache: reference taken", m.costs.lock)
    yield from m.locks.lock(pfn)
    one = np.array([pfn], np.int32)
    if left_swap_cache(m, pfn) or index >= space.size or space.swapped[index] != entry:
        pass
    elif frames.flags[pfn] & PG.WRITEBACK:
        yield from m.locks.wait_on_writeback(pfn)
    else:
        _move_from_swap_cache(m, space, index, one)
    unlock_put(m, pfn)


def _move_from_swap_cache(m: Machine, space: AddressSpace, index: int, one: Pfns) -> None:
    frames = m.frames
    entries = np.array([space.swapped[index]], np.int32)
    space.swapped[index] = -1
    if frames.flags[one[0]] & PG.SWAPCACHE:
        m.swap.delete_from_cache(frames, one)
    m.swap.release(entries)
    # Cleared for set_dirty() below, which tags only pages that are clean.
    frames.flags[one] &= ~np.uint32(PG.DIRTY)
    frames.mapping[one] = space.id
    frames.index[one] = index
    frames.refcount[one] += 1
    space.pages[index] = one[0]
    frames.count_cache(one, +1)
    m.rmap.set_dirty(frames, one)


def move_to_swap_cache(m: Machine, pfns: Pfns) -> Pfns:
    """shmem_writepage(): move locked, unmapped shared memory pages from their files to the swap cache. They are dirty
    there, and the files hold their swap entries. Returns the pages that got a slot."""
    frames = m.frames
    got = pfns[: m.swap.add_to_swap(frames, pfns)]
    entries = frames.private[got].copy()
    m.swap.duplicate(entries)
    for space, mine in by_space(m, got):
        space.swapped[frames.index[mine]] = frames.private[mine]
        remove(m, mine)
        frames.flags[mine] |= PG.DIRTY
    return got


def truncate(m: Machine, space: AddressSpace, size: int, cpu: int | None = None) -> Events:
    """Set the size of a file to `size` pages (vmtruncate()). Pages beyond are unmapped, private copies too, and dropped
    after any writeback. New pages read as 0. Returns 0. Raises OSError EFBIG. `cpu`: the CPU of the caller, whose
    pagevec is drained (pagevec_release())."""
    yield from space.i_sem.down_write(m.env)
    try:
        yield from m.step("truncate", m.costs.syscall)
        # i_size shrinks first, so that no fault or read adds a page beyond it (vmtruncate()).
        space.i_size = min(space.i_size, size)
        m.pagevecs.lru_add_drain(cpu)
        unmap_range(m, space, size)
        for index in (np.nonzero((space.pages[size:] >= 0) | (space.swapped[size:] >= 0))[0] + size).tolist():
            while space.pages[index] >= 0 or space.swapped[index] >= 0:
                yield from _truncate_page(m, space, index)
        space.resize(size)
    finally:
        space.i_sem.up_write()
    return 0


def _truncate_page(m: Machine, space: AddressSpace, index: int) -> Events:
    entry, pfn = int(space.swapped[index]), int(space.pages[index])
    if entry >= 0:
        space.swapped[index] = -1
        cached = m.swap.cache[[entry]]
        m.swap.release(np.array([entry], np.int32))
        drop_unused(m, cached[cached >= 0])
        return
    m.locks.get_page(pfn)
    yield from m.locks.lock(pfn)
    yield from m.locks.wait_on_writeback(pfn)
    yield from m.locks.wait_on_buffers(pfn)
    # A fault may have mapped the page again before it was locked (truncate_complete_page()).
    if space.pages[index] == pfn:
        unmap_range(m, space, index, 1)
        remove(m, np.array([pfn], np.int32))
    unlock_put(m, pfn)


def unmap_range(m: Machine, space: AddressSpace, first: int, count: int | None = None) -> None:
    """unmap_mapping_range(): clear the PTEs of these pages in all VMAs, private copies too."""
    end = len(space.pages) if count is None else first + count
    for vma in m.rmap.mapped(space):
        index = np.arange(max(0, first - vma.pgoff), min(vma.pages, end - vma.pgoff), dtype=np.int64)
        if len(index):
            zap(m, vma, index)
