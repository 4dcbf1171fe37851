"""Entries that replace the PTEs of a page during its move: swap entries (Direct Migration V8) or migration entries
(Linux 6)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.batches import Mask, pick, span, take
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.machine import Machine
from backend.emulator.migration.migrate_page import buffer_references, in_cache
from backend.emulator.mm.mm import (
    PTE_DIRTY,
    PTE_MIGRATION,
    PTE_PRESENT,
    PTE_SHIFT,
    PTE_SWAP,
    PTE_WRITE,
    PTE_YOUNG,
    VM,
)  # fmt: skip

_KEPT = ~0 << PTE_SHIFT | PTE_WRITE | PTE_YOUNG | PTE_DIRTY
"""Bits of a PTE that its migration entry keeps: the pfn, and the flags restored by the remap."""


class SwapEntries:
    """Direct Migration V8. Each anonymous page gets a swap slot and its PTEs become swap PTEs. `remove_from_swap`
    (patch 3) makes them present again and frees the slot. PTEs of file pages are cleared and fault back from the page
    cache."""

    def at_once(self, m: Machine, old: Pfns) -> int:
        """How many pages from the first on there are slots for, but at least one: each gives its slot back before the
        next one needs it."""
        needed = np.cumsum(self._outside(m, old))
        return max(1, int(np.searchsorted(needed, m.swap.free, side="right")))

    @staticmethod
    def _outside(m: Machine, old: Pfns) -> Mask:
        at = span(old)
        return ((m.frames.flags[at] & PG.SWAPCACHE) == 0) & (m.frames.mapping[at] > 0)

    def prepare(self, m: Machine, old: Pfns) -> Mask:
        frames = m.frames
        outside = self._outside(m, old)
        pages = pick(old, outside)
        got = m.swap.add_to_swap(frames, pages)
        m.rmap.set_dirty(frames, pages[:got])
        ok = np.ones(len(old), np.bool_)
        if got < len(pages):
            ok[np.nonzero(outside)[0][got:]] = False
        return ok

    def countable(self, m: Machine, old: Pfns) -> Mask:
        at = span(old)
        # migrate_page(): one reference for each PTE, and one each for isolation, cache and buffers.
        expected = m.frames.mapcount[at] + np.int32(1)
        expected += in_cache(m, old)
        expected += buffer_references(m, old)
        return expected == m.frames.refcount[at]

    def unmap(self, m: Machine, old: Pfns) -> Mask:
        frames = m.frames
        kept = np.zeros(len(old), np.bool_)
        for vma, at, index, _ in m.rmap.ptes(frames, old, PTE_PRESENT, old):
            # try_to_unmap_one() fails on VM_LOCKED.
            if vma.flags & VM.LOCKED:
                kept[at] = True
                continue
            pfns = take(old, at)
            if len(pfns) and frames.mapping[pfns[0]] < 0:
                vma.unmap(frames, index, 0)
            else:
                entries = frames.private[span(pfns)]
                vma.unmap(frames, index, (entries.astype(np.int64) << PTE_SHIFT) | PTE_SWAP)
                vma.nr_swap += len(pfns)
                m.swap.duplicate(entries)
            frames.refcount[span(pfns)] -= 1
        return kept

    def restore(self, m: Machine, old: Pfns) -> None:
        """Does nothing: the swap PTEs are valid, and a fault maps the page from the swap cache."""

    def remap(self, m: Machine, old: Pfns, new: Pfns) -> None:
        frames = m.frames
        if not m.patches.remove_from_swap:
            return
        new = pick(new, frames.mapping[span(new)] > 0)
        entries = frames.private[span(new)]
        for vma, at, index, _ in m.rmap.ptes(frames, new, PTE_SWAP, entries):
            pfns = take(new, at)
            frames.refcount[span(pfns)] += 1
            vma.nr_swap -= len(pfns)
            vma.map(frames, index, pfns, 0)
            m.swap.release(take(entries, at))
        m.swap.delete_from_cache(frames, new)


class MigrationEntries:
    """Linux 6. PTEs become migration entries that hold the old pfn and the PTE flags. No swap space is needed."""

    def at_once(self, m: Machine, old: Pfns) -> int:
        return len(old)

    def prepare(self, m: Machine, old: Pfns) -> Mask:
        return np.ones(len(old), np.bool_)

    def countable(self, m: Machine, old: Pfns) -> Mask:
        return np.ones(len(old), np.bool_)

    def unmap(self, m: Machine, old: Pfns) -> Mask:
        frames = m.frames
        for vma, at, index, pte in m.rmap.ptes(frames, old, PTE_PRESENT, old):
            pfns = take(old, at)
            vma.unmap(frames, index, pte & _KEPT | PTE_MIGRATION)
            frames.refcount[span(pfns)] -= 1
        return np.zeros(len(old), np.bool_)

    def restore(self, m: Machine, old: Pfns) -> None:
        self.remap(m, old, old)

    def remap(self, m: Machine, old: Pfns, new: Pfns) -> None:
        frames = m.frames
        for vma, at, index, pte in m.rmap.ptes(frames, new, PTE_MIGRATION, old):
            pfns = take(new, at)
            frames.refcount[span(pfns)] += 1
            vma.map(frames, index, pfns, pte & (PTE_WRITE | PTE_YOUNG | PTE_DIRTY))
