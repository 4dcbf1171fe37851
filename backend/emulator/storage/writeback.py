"""Writing pages to their file's device or to swap (mm/vmscan.c pageout(), mm/page-writeback.c, fs/buffer.c)."""

from __future__ import annotations

import numpy as np
import simpy
from numpy.typing import NDArray

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_DIRTY, PTE_PRESENT, PTE_WRITE, Indices, Vma
from backend.emulator.storage import swap_io
from backend.emulator.storage.filesystem import AddressSpace, Filesystem
from backend.emulator.storage.page_cache import add_buffers, by_space, move_to_swap_cache


def pageout(m: Machine, pages: Pfns) -> NDArray[np.bool_]:
    """Start writing locked, dirty, unmapped pages and unlock them. Shared memory pages move to the swap cache instead
    and are unlocked too. Returns the mask of these pages.

    Other pages stay locked and dirty: no slot is free, or their buffers are locked by a write in flight
    (redirty_page_for_writepage())."""
    frames = m.frames
    flags = frames.flags[pages]
    cached = (flags & PG.SWAPCACHE) != 0
    shared = ~cached & (frames.mapping[pages] < 0) & ((flags & PG.SWAPBACKED) != 0)
    swap_io.start_writing(m, pages[cached])
    filed = ~cached & ~shared & (frames.mapping[pages] < 0)
    filed &= (flags & (PG.WRITEBACK | PG.BUFFER_LOCK)) == 0
    start_writing(m, pages[filed])
    done = cached | filed
    moved = move_to_swap_cache(m, pages[shared])
    m.locks.unlock(moved)
    done[np.nonzero(shared)[0][: len(moved)]] = True
    return done


def start_writing(m: Machine, pages: Pfns) -> list[simpy.Process]:
    """writepage() for locked, dirty pages of files with a device: clears PG_dirty, sets PG_writeback and unlocks them.
    Returns the requests; each ends when its pages are on the device."""
    return _submit(m, pages, PG.WRITEBACK)


def write_buffers(m: Machine, pages: Pfns) -> list[simpy.Process]:
    """A journal writes the buffers of locked, dirty pages (journal_submit_data_buffers()): clears PG_dirty, locks the
    buffers and unlocks the pages. Returns as `start_writing`."""
    return _submit(m, pages, PG.BUFFER_LOCK)


def _submit(m: Machine, pages: Pfns, busy: int) -> list[simpy.Process]:
    frames = m.frames
    requests: list[simpy.Process] = []
    for space, mine in by_space(m, pages):
        _clean(m, space, mine)
        frames.flags[mine] |= busy
        m.locks.unlock(mine)
        path = _write(m, space, mine, frames.index[mine].copy(), frames.contents[mine].copy())
        requests.append(m.start(path, space.fs.name))
        space.writes.append(requests[-1])
    return requests


def _write(m: Machine, space: AddressSpace, pages: Pfns, index: Indices, contents: NDArray[np.uint64]) -> Events:
    yield from space.fs.device.request(m.env, space.fs.write * len(pages))
    space.device[index] = contents
    space.fs.nr_written += len(pages)
    space.writes = [request for request in space.writes if request is not m.env.active_process]
    m.count("nr_written", len(pages))
    m.count("pgpgout", len(pages))
    flags = m.frames.flags[pages]
    m.locks.end_writeback(pages[(flags & PG.WRITEBACK) != 0])
    m.locks.unlock_buffers(pages[(flags & PG.BUFFER_LOCK) != 0])


def _clean(m: Machine, space: AddressSpace, pages: Pfns) -> None:
    """clear_page_dirty_for_io(), and add buffers for the I/O. With `write_notify` the PTEs become clean and read-only,
    so that the next write faults (page_mkclean())."""
    if space.fs.type.buffers:
        add_buffers(m, pages)
    if m.profile.write_notify:
        for vma, _, index, _ in m.rmap.ptes(m.frames, pages, PTE_PRESENT, pages):
            vma.pte[index] &= ~np.int64(PTE_DIRTY | PTE_WRITE)
    m.rmap.clear_dirty(m.frames, pages)


def transfer_dirty(m: Machine, vma: Vma, index: Indices) -> None:
    """Move the dirty bits of present PTEs to their pages (sync_page_range() in mm/msync.c)."""
    at = index[(vma.pte[index] & (PTE_PRESENT | PTE_DIRTY)) == PTE_PRESENT | PTE_DIRTY]
    m.rmap.set_dirty(m.frames, vma.pfns(at))
    vma.pte[at] &= ~np.int64(PTE_DIRTY)


def write_dirty(m: Machine, space: AddressSpace, wait: bool, journal: bool = False) -> Events:
    """Write all dirty pages of a file to its device (filemap_fdatawrite()). `wait`: until they and earlier requests are
    done. `journal`: through the journal, if the filesystem has one. Returns the number of pages."""
    tagged = np.nonzero(space.dirty)[0].tolist()
    if space.swap_backed or not (tagged or space.writes):
        yield from m.step("writeback", m.costs.syscall)
        return 0
    write = write_buffers if journal and space.fs.type.ordered else start_writing
    count = 0
    requests = list(space.writes)
    for index in tagged:
        pfn = _page(space, index)
        if pfn < 0:
            continue
        m.locks.get_page(pfn)
        yield from m.locks.lock(pfn)
        yield from m.locks.wait_on_writeback(pfn)
        yield from m.locks.wait_on_buffers(pfn)
        if m.frames.mapping[pfn] == space.id and m.frames.flags[pfn] & PG.DIRTY:
            requests += write(m, np.array([pfn], np.int32))
            count += 1
        else:
            m.locks.unlock(np.array([pfn], np.int32))
        m.locks.put_page(pfn)
    if wait and requests:
        yield m.env.all_of(requests)
    return count


def _page(space: AddressSpace, index: int) -> int:
    return int(space.pages[index]) if index < space.size else -1


def flusher(m: Machine, filesystem: Filesystem, interval: float) -> Events:
    """pdflush: start writing the filesystem's dirty pages every `interval` seconds. Never returns."""
    while True:
        yield m.env.timeout(interval)
        for space in list(filesystem.files.values()):
            yield from write_dirty(m, space, wait=False)
