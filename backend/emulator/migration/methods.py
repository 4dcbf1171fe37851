"""The `migratepage` method of a page's mapping, and the fallback for filesystems without one (mm/vmscan.c of Direct
Migration V8)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import Mask, span
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.migrate_page import buffer_references
from backend.emulator.storage.page_cache import by_space, drop_buffers, remove_mapping
from backend.emulator.storage.writeback import pageout


def has_method(m: Machine, pages: Pfns) -> Mask:
    """True for pages whose mapping has a `migratepage` method: the swap cache, and filesystems that supply one (patch
    5)."""
    out = np.full(len(pages), m.patches.buffer_migrate)
    if not m.patches.buffer_migrate:
        return out
    frames, at = m.frames, span(pages)
    filed = (frames.mapping[at] < 0) & ((frames.flags[at] & PG.SWAPCACHE) == 0)
    if filed.any():
        mapping = frames.mapping[at]
        for number in np.unique(mapping[filed]).tolist():
            if m.rmap.spaces[number].fs.type.migratepage == "none":
                out[filed & (mapping == number)] = False
    return out


def truncated(m: Machine, pages: Pfns) -> Mask:
    """True for pages that no longer have a mapping."""
    at = span(pages)
    return (m.frames.mapping[at] == 0) & ((m.frames.flags[at] & PG.SWAPCACHE) == 0)


def write_out(m: Machine, pages: Pfns) -> Events:
    """Write locked, dirty pages whose mapping has no method. They are unmapped first, so that no PTE can dirty them
    during the write. Returns the mask of clean pages, which stay locked. All dirty pages are unlocked, written or not,
    and need a retry."""
    frames = m.frames
    m.mechanism.unmap(m, pages)
    yield from m.step("unmap", m.costs.unmap * len(pages) + m.costs.tlb_flush)
    dirty = (frames.flags[pages] & PG.DIRTY) != 0
    free = dirty & (frames.mapcount[pages] == 0)
    m.mechanism.restore(m, pages[dirty & ~free])
    written = pages[free]
    m.mechanism.restore(m, written)
    stays = np.ones(len(written), np.bool_)
    if len(written):
        m.count("migrate_writeouts", len(written))
        stays = ~pageout(m, written)
    m.locks.unlock(written[stays])
    m.locks.unlock(pages[dirty & ~free])
    return ~dirty


def release_buffers(m: Machine, pages: Pfns) -> Mask:
    """try_to_release_page() for clean, locked pages. Returns the mask of pages without buffers."""
    having = buffer_references(m, pages)
    if having.any():
        for space, mine in by_space(m, pages[having]):
            if space.fs.type.releases:
                drop_buffers(m, mine[(m.frames.flags[mine] & PG.BUFFER_LOCK) == 0])
    return ~buffer_references(m, pages)


def swap_page(m: Machine, pages: Pfns) -> Events:
    """swap_page() for locked pages. Unmaps all pages and starts writing dirty ones, which then need a retry. Clean
    pages without other users are removed from their cache. All pages are unlocked. Returns the mask of removed
    pages."""
    frames = m.frames
    m.mechanism.unmap(m, pages)
    yield from m.step("unmap", m.costs.unmap * len(pages) + m.costs.tlb_flush)
    unmapped = frames.mapcount[pages] == 0
    dirty = (frames.flags[pages] & PG.DIRTY) != 0
    going = np.nonzero(unmapped & dirty)[0]
    locked = np.ones(len(pages), np.bool_)
    if len(going):
        locked[going[pageout(m, pages[going])]] = False
    without_buffers = np.zeros(len(pages), np.bool_)
    clean = np.nonzero(unmapped & ~dirty)[0]
    without_buffers[clean] = release_buffers(m, pages[clean])
    flags = frames.flags[pages]
    # 2 references: the cache and the isolation.
    free = without_buffers & (frames.refcount[pages] == 2) & ((flags & PG.WRITEBACK) == 0)
    free &= (frames.mapping[pages] != 0) | ((flags & PG.SWAPCACHE) != 0)
    remove_mapping(m, pages[free])
    m.mechanism.restore(m, pages[locked & ~free])
    m.locks.unlock(pages[locked])
    m.count("swap_page", int(np.count_nonzero(free)))
    return free
