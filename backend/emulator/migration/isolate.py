"""Isolation from the LRU: which pages of an address space can be taken (mm/mempolicy.c check_range(), mm/vmscan.c
isolate_lru_page())."""

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
"""PTEs looked at in one go: what they need stays in the processor's cache."""


def isolate_range(m: Machine, mm: Mm, source: int, move_all: bool) -> Pfns:
    """All pages of `mm` on node `source` that can be taken, in address order: isolated, each once."""
    parts = [
        isolate(m, (pick(pte, (pte & PTE_PRESENT) != 0) >> PTE_SHIFT).astype(np.int32), source, move_all)
        for vma in mm.vmas
        if vma.migratable(m.profile.migration_entries) and vma.nr_node[source]
        for at in range(0, vma.pages, _WINDOW)
        for pte in (vma.pte[at : at + _WINDOW],)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])


def isolate(m: Machine, pfns: Pfns, source: int | None, move_all: bool) -> Pfns:
    """Of a batch those on `source` (any node: None), mapped once (or `move_all`) and on the LRU: taken off it, refcount
    + 1. Huge pages come whole, after the others."""
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
    if move_all and (frames.mapcount[span(taken)] > 1).any():
        taken = taken[np.sort(np.unique(taken, return_index=True)[1])]
    frames.drop_lru(taken)
    frames.refcount[span(taken)] += 1
    return taken


def _isolate_blocks(m: Machine, pfns: Pfns, source: int | None, move_all: bool) -> Pfns:
    """The huge pages that these belong to, whole or not at all, each once: frame by frame in order."""
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


def takeable(m: Machine, pfns: Pfns, move_all: bool) -> NDArray[np.bool_]:
    """On the LRU, not reserved, and mapped by nobody else unless `move_all`."""
    flags = m.frames.flags[span(pfns)]
    wanted = ((flags & PG.LRU) != 0) & ((flags & PG.RESERVED) == 0)
    if not m.profile.migration_entries:
        wanted &= (flags & PG.HUGETLB) == 0
    return wanted if move_all else wanted & (m.frames.mapcount[span(pfns)] == 1)


def putback(m: Machine, pfns: Pfns) -> None:
    """Back onto the LRU, active as they were; the isolation's references go, and with them pages that nothing else
    holds. A swap-cache page that no PTE names any more leaves the swap cache (as reclaim would do)."""
    if not len(pfns):
        return
    frames = m.frames
    frames.add_lru(pfns)
    frames.put(pfns)
    drop_unused(m, pfns[frames.state[pfns] == State.IN_USE])
