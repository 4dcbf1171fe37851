"""Whose frames: the process that maps each frame, and cells of many frames by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.page import State
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT
from backend.files.text import decode

FREE, UNMAPPED, SEVERAL = 0, -1, -2
"""What stands for a pid: nobody uses the frame; it is in use, but in no page table; several processes map it."""
Owners = NDArray[np.int32]
"""For each frame a pid, or one of these."""


@dataclass(frozen=True, slots=True)
class OwnedCells:
    """Cells of 2**`shift` frames from pfn `first` on; the last may be short. `owners`: of each cell the owner of most
    of its frames, of those that are in use. `counts`: frames by owner. `share`: of each cell, 0 to 1, the part that
    belongs to the one owner asked for; None if none was."""

    first: int
    shift: int
    owners: Owners
    counts: Mapping[int, int]
    share: NDArray[np.float32] | None = None


def owners(m: Machine, first: int, count: int) -> Owners:
    """The owners of the frames from pfn `first` on, all of one node. Threads and processes that share an address space
    are its first task."""
    end = min(first + count, len(m.frames.state))
    state = m.frames.state[first:end]
    out = np.where((state == State.FREE) | (state == State.KEPT_OUT), FREE, UNMAPPED).astype(np.int32)
    if not len(out):
        return out
    node = int(m.frames.nid[first])
    seen: set[int] = set()
    for task in m.tasks.values():
        if task.mm is None or id(task.mm) in seen:
            continue
        seen.add(id(task.mm))
        for vma in task.mm.vmas:
            if vma.nr_node[node]:
                at = (vma.pte[(vma.pte & PTE_PRESENT) != 0] >> PTE_SHIFT) - first
                at = at[(at >= 0) & (at < len(out))]
                before = out[at]
                out[at] = np.where((before == UNMAPPED) | (before == task.pid), task.pid, SEVERAL)
    return out


def names(m: Machine) -> dict[int, str]:
    """The names of all processes, by pid."""
    return {task.pid: decode(task.name) for task in m.tasks.values() if task.mm is not None}


def counts_of(found: Owners) -> dict[int, int]:
    """Frames by owner, most first."""
    who, how_many = np.unique(found, return_counts=True)
    return dict(sorted(zip(who.tolist(), how_many.tolist(), strict=True), key=lambda one: -one[1]))


def owned_cells(first: int, found: Owners, shift: int, only: int | None = None) -> OwnedCells:
    """Group frames into cells. `found`: the owners of the frames from pfn `first` on. `only`: whose share is told."""
    counts = counts_of(found)
    if not len(found):
        return OwnedCells(first, shift, found, counts, None if only is None else np.zeros(0, np.float32))
    starts = np.arange(0, len(found), 1 << shift)
    sizes = np.diff(starts, append=len(found))
    most, best = np.full(len(starts), FREE, np.int32), np.zeros(len(starts), np.int64)
    share = np.zeros(len(starts), np.float32) if only is not None else None
    for owner in counts:
        if owner == FREE and only != FREE:
            continue
        here = np.add.reduceat(found == owner, starts, dtype=np.int64)
        if owner != FREE:
            better = here > best
            most[better] = owner
            best[better] = here[better]
        if owner == only:
            share = (here / sizes).astype(np.float32)
    return OwnedCells(first, shift, most, counts, share)
