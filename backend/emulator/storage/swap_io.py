"""Reading and writing swap-cache pages (mm/page_io.c, mm/swap_state.c)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import span
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_SHIFT, VM, Vma
from backend.emulator.mm.placing import mark_mlocked


def start_writing(m: Machine, pages: Pfns) -> None:
    """swap_writepage() for locked, dirty swap-cache pages: clears PG_dirty, sets PG_writeback and unlocks them."""
    frames = m.frames
    frames.flags[pages] &= ~np.uint32(PG.DIRTY)
    frames.flags[pages] |= PG.WRITEBACK
    m.locks.unlock(pages)
    if len(pages):
        path = _write(m, pages.copy(), frames.private[pages].copy(), frames.contents[pages].copy())
        m.start(path, "swap device")


def _write(m: Machine, pages: Pfns, entries: Pfns, contents: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Events:
    yield from m.swap.device.request(m.env, m.costs.swap_write * len(pages))
    m.swap.contents[entries] = contents
    m.locks.end_writeback(pages)
    m.count("pswpout", len(pages))
    drop_unused(m, pages)


def drop_unused(m: Machine, pages: Pfns) -> None:
    """Free swap-cache pages that no PTE refers to, as reclaim would, unless they are locked, under writeback or
    isolated (free_swap_cache())."""
    frames = m.frames
    flags = frames.flags[span(pages)]
    idle = ((flags & PG.SWAPCACHE) != 0) & ((flags & (PG.LOCKED | PG.WRITEBACK)) == 0) & ((flags & PG.LRU) != 0)
    cached = pages[idle & (frames.mapcount[span(pages)] == 0)]
    if not len(cached):
        return
    alone = cached[m.swap.swap_map[frames.private[cached]] == 1]
    # An extra reference, so that put() frees the pages and not delete_from_cache().
    frames.refcount[alone] += 1
    m.swap.delete_from_cache(frames, alone)
    frames.put(alone)


def left_swap_cache(m: Machine, pfn: int) -> bool:
    """Patch 1 of Direct Migration V8: whether a page migrated out of the swap cache while the caller waited for its
    lock. The caller must then look the swap entry up again. Always False without the patch."""
    gone = m.patches.swapcache_recheck and not m.frames.flags[pfn] & PG.SWAPCACHE
    if gone:
        m.count("swapcache_rechecks", 1)
    return bool(gone)


def map_swapped(m: Machine, vma: Vma, index: int, pfn: int, bits: int) -> None:
    """Replace a swap PTE by a present PTE of its locked page. The PTE takes over the caller's temporary reference. The
    slot loses a user."""
    entry = int(vma.pte[index]) >> PTE_SHIFT
    one = np.array([pfn], np.int32)
    m.locks.transfer(pfn)
    vma.nr_swap -= 1
    vma.pte[index] = 0
    m.frames.mapping[pfn] = vma.anon_vma
    m.frames.index[pfn] = vma.pgoff + index
    vma.map(m.frames, np.array([index], np.int64), one, bits)
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        mark_mlocked(m, one, lock=True)
    m.swap.release(np.array([entry], np.int32))


def read_page(m: Machine, entry: int, pfn: int, cpu: int | None) -> Events:
    """Read a slot into a new frame, which is locked and in the swap cache during the read. Drops the reference from its
    allocation at the end. `cpu`: the CPU of the reader."""
    frames = m.frames
    one = np.array([pfn], np.int32)
    m.swap.enter(frames, entry, pfn)
    m.locks.trylock(one)
    m.locks.holders[pfn] += 1
    frames.flags[pfn] |= PG.SWAPBACKED
    m.pagevecs.lru_cache_add(one, m.profile.new_anon_active, cpu)
    yield from m.swap.device.request(m.env, m.costs.swap_read)
    frames.contents[pfn] = m.swap.contents[entry]
    frames.flags[pfn] |= PG.UPTODATE
    m.locks.unlock(one)
    m.count("pswpin", 1)
    # The last swap PTE may have gone during the read.
    drop = frames.mapcount[pfn] == 0 and m.swap.swap_map[entry] == 1
    m.locks.put_page(pfn)
    if drop:
        drop_unused(m, one)
