"""Huge pages (linux-6): transparent huge pages of PMD size and the hugetlb pool (mm/huge_memory.c, mm/hugetlb.c).

Each base page of a huge page has its own PTE and frame here. A huge page is an aligned block of frames that moves as a
unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from backend.emulator.frames.frames import dissolve, frames_of, make_compound, shrink_pool, take_blocks
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.zone import Zone
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_ZERO, VM, Indices, Vma
from backend.emulator.mm.placing import preferred_node
from backend.emulator.tasks.task import Task, Thread


def fill_pool(m: Machine, nid: int, count: int) -> int:
    """Set nr_hugepages of a node (set_max_huge_pages()). The pool grows as far as memory allows and shrinks only by
    free pages. Returns the new number of huge pages."""
    frames, zone = m.frames, m.frames.zones[nid]
    pfns = take_blocks(frames, zone, count - zone.nr_hugepages)
    if len(pfns):
        make_compound(frames, pfns, PG.HUGETLB)
        zone.nr_hugepages += len(pfns) // frames.huge
        frames.put(pfns)
    surplus = zone.nr_hugepages - count
    if surplus > 0:
        shrink_pool(frames, zone, min(surplus, len(zone.hugetlb_free)))
    return zone.nr_hugepages


def from_pool(m: Machine, nodes: Iterable[int]) -> Pfns:
    """Take a free hugetlb page, refcount 1, from the first of `nodes` that has one (dequeue_huge_page_nodemask()).
    Returns its frames, empty if no node has a free page."""
    frames = m.frames
    for node in nodes:
        zone = frames.zones[node]
        if zone.hugetlb_free and not zone.isolated:
            pfns = frames_of(frames, np.array([zone.hugetlb_free.pop(0)], np.int32))
            frames.state[pfns] = State.IN_USE
            frames.refcount[pfns] = 1
            return pfns
    return np.empty(0, np.int32)


def target_block(m: Machine, old: Pfns, nodes: Sequence[int]) -> tuple[Pfns, bool]:
    """Allocate the target of one huge page from the first of `nodes` that has a block (alloc_migration_target()). The
    target of a hugetlb page comes from the pool, or else from free memory.

    Returns (frames, fresh), frames empty if no node has a block. `fresh`: the target is new in the pool, so the old
    page must leave the pool after the move."""
    frames = m.frames
    pooled = bool(frames.flags[old[0]] & PG.HUGETLB)
    if pooled and len(new := from_pool(m, nodes)):
        return new, False
    for candidate in nodes:
        zone: Zone = frames.zones[candidate]
        if not zone.isolated and len(new := take_blocks(frames, zone, 1)):
            make_compound(frames, new, PG.HUGETLB if pooled else 0)
            if pooled:
                zone.nr_hugepages += 1
            return new, pooled
    return np.empty(0, np.int32), False


def leave_pool(m: Machine, pfns: Pfns) -> None:
    """Remove a hugetlb page from the pool; its frames become ordinary frames."""
    m.frames.zones[int(m.frames.nid[pfns[0]])].nr_hugepages -= 1
    dissolve(m.frames, pfns)


def whole_ranges(m: Machine, index: Indices) -> Indices:
    """Extend page indices of a hugetlb VMA to whole huge pages; each index once."""
    size = m.frames.huge
    firsts = np.unique(index // size) * size
    return (firsts[:, None] + np.arange(size)).reshape(-1)


def huge_ranges(m: Machine, vma: Vma, index: Indices, over_zero: bool = False) -> list[Indices]:
    """The huge-page-sized ranges around `index` that lie within the VMA and have no page yet; each range once. Empty
    for a VMA without VM_HUGEPAGE and VM_HUGETLB. `over_zero`: ranges that the huge zero page maps, too."""
    if not len(index) or not vma.flags & (VM.HUGEPAGE | VM.HUGETLB):
        return []
    size = m.frames.huge
    offset = vma.start // m.page_size
    out: list[Indices] = []
    for first in (np.unique((index + offset) // size) * size - offset).tolist():
        if first < 0 or first + size > vma.pages:
            continue
        pages = np.arange(first, first + size, dtype=np.int64)
        pte = vma.pte[pages]
        if not pte.any() or (over_zero and (pte == PTE_ZERO).all()):
            out.append(pages)
    return out


def alloc_transparent(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> Pfns:
    """Allocate a transparent huge page by policy (alloc_hugepage_vma()). Returns its frames. Empty if no block is free:
    the caller falls back to base pages."""
    frames = m.frames
    for candidate in nodes_by_policy(m, task, thread, vma, int(index[0])):
        if len(pfns := take_blocks(frames, frames.zones[candidate], 1)):
            make_compound(frames, pfns)
            m.count("thp_fault_alloc", 1)
            return pfns
        m.count("thp_fault_fallback", 1)
    return np.empty(0, np.int32)


def alloc_hugetlb(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> Pfns:
    """Take a hugetlb page by policy. Returns its frames, empty if no allowed node has a free one (SIGBUS)."""
    return from_pool(m, nodes_by_policy(m, task, thread, vma, int(index[0])))


def nodes_by_policy(m: Machine, task: Task, thread: Thread, vma: Vma, index: int) -> list[int]:
    """Nodes that the policy allows for the huge page starting at `index`, in the order they are tried."""
    nid, nodemask = preferred_node(m, task, thread, vma, index)
    return [node for node in m.frames.zones[nid].zonelist if nodemask is None or node in nodemask]
