"""Isolation of pages from the LRU (mm/mempolicy.c check_range(), mm/vmscan.c isolate_lru_page())."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.frames import frames_of, head_of
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, Mm
from backend.emulator.storage.swap_io import drop_unused

_WINDOW = 1 << 15
"""PTEs per batch: small enough for the working set to stay in the CPU cache."""


def isolate_range(m: Machine, mm: Mm, source: int, move_all: bool) -> Pfns:
    """Isolate all pages of `mm` on node `source` that can be isolated. Returns them in address order, each once."""
    parts = [
        isolate(m, (pick(pte, (pte & PTE_PRESENT) != 0) >> PTE_SHIFT).astype(np.int32), source, move_all)
        for vma in mm.vmas
        if vma.migratable(m.profile.migration_entries) and vma.nr_node[source]
        for at in range(0, vma.pages, _WINDOW)
        for pte in (vma.pte[at : at + _WINDOW],)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])


def isolate(m: Machine, pfns: Pfns, source: int | None, move_all: bool) -> Pfns:
    """Isolate the pages of a batch that are on the LRU, on node `source` (None: any node), and mapped once (not needed
    with `move_all`): removed from the LRU, refcount + 1. Returns them; huge pages are whole and come last."""
    frames = m.frames
    if frames.compounds:
        huge = (frames.flags[pfns] & PG.COMPOUND) != 0
        if huge.any():
            blocks = _isolate_blocks(m, pfns[huge], source, move_all)
            return np.concatenate([isolate(m, pfns[~huge], source, move_all), blocks])
    wanted = takeable(m, pfns, move_all)
    if source is not None:
        wanted &= frames.nid[span(pfns)] == source
    taken = pick(pfns, wanted)
    # Only a page with several mappings can appear twice. Sorting the first positions keeps the order.
    if move_all and (frames.mapcount[span(taken)] > 1).any():
        taken = taken[np.sort(np.unique(taken, return_index=True)[1])]
    frames.drop_lru(taken)
    frames.refcount[span(taken)] += 1
    return taken


def _isolate_blocks(m: Machine, pfns: Pfns, source: int | None, move_all: bool) -> Pfns:
    """Isolate the huge pages that contain these frames, each as a unit and once. Returns all their frames in order."""
    frames = m.frames
    heads = head_of(frames, pfns)
    heads = heads[np.sort(np.unique(heads, return_index=True)[1])]
    blocks = frames_of(frames, heads)
    wanted = takeable(m, blocks, move_all).reshape(-1, frames.huge).all(axis=1)
    if source is not None:
        wanted &= frames.nid[heads] == source
    taken = frames_of(frames, heads[wanted])
    frames.drop_lru(taken)
    frames.refcount[taken] += 1
    return taken


def permitted(m: Machine, pfns: Pfns, move_all: bool) -> NDArray[np.bool_]:
    """Of mapped pages those that a caller may move: with `move_all` each, else those that one PTE maps (page_mapcount()
    in the seed and in mm/mempolicy.c of Linux 6)."""
    return np.ones(len(pfns), np.bool_) if move_all else m.frames.mapcount[span(pfns)] == 1


def takeable(m: Machine, pfns: Pfns, move_all: bool) -> NDArray[np.bool_]:
    """True for pages on the LRU that are not reserved, of those that are `permitted`."""
    flags = m.frames.flags[span(pfns)]
    wanted = ((flags & PG.LRU) != 0) & ((flags & PG.RESERVED) == 0)
    # Kernels without migration entries do not migrate hugetlb pages.
    if not m.profile.migration_entries:
        wanted &= (flags & PG.HUGETLB) == 0
    return wanted & permitted(m, pfns, move_all)


def putback(m: Machine, pfns: Pfns) -> None:
    """Put isolated pages back on the LRU and drop the isolation's references (putback_lru_pages()). PG_active is kept.
    Pages without other references are freed, swap-cache pages without PTEs leave the swap cache."""
    if not len(pfns):
        return
    frames = m.frames
    frames.add_lru(pfns)
    frames.put(pfns)
    drop_unused(m, pfns[frames.state[pfns] == State.IN_USE])
