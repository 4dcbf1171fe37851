"""Address spaces: VMAs with their page tables, the reverse map, and the counts kept with them (mm_types.h, rmap.c)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from backend.emulator.filesystem import AddressSpace
from backend.emulator.frames import PG, MemMap, Pfns
from backend.emulator.mempolicy import Mempolicy
from backend.emulator.mmap_lock import MmapLock

Indices = NDArray[np.int64]
"""Page indices within a VMA."""

PTE_PRESENT, PTE_YOUNG, PTE_DIRTY, PTE_WRITE, PTE_SWAP, PTE_MIGRATION, PTE_ZERO = 1, 2, 4, 8, 16, 32, 64
PTE_PROTNONE = 128
"""Beside PTE_PRESENT: the page is there, and its next access is a NUMA hinting fault."""
PTE_SHIFT = 8
"""A PTE is an int64: flags in the low byte; above, a pfn (present, migration) or a swap entry. 0 is none. PTE_ZERO alone: the
zero page, which nobody counts."""


class VM(IntFlag):
    """VMA flags (include/linux/mm.h)."""

    WRITE = 1
    LOCKED = 2
    IO = 4
    RESERVED = 8
    SHARED = 16


@dataclass(eq=False, slots=True)
class Vma:
    """One mapping: anonymous, or of a `file` (then `pgoff` counts in it; shared ones have no `anon_vma`: 0). `expected`, where
    a test keeps it: the value last written to each private page. The counts of mapped pages (`nr_node` by node, `nr_anon`,
    `nr_dirty`, `nr_active`) and `nr_swap` (swap PTEs) change with the PTEs, so that numa_maps costs nothing per page.
    """

    mm: Mm
    start: int
    pages: int
    name: str
    kind: str
    anon_vma: int
    pgoff: int
    pte: NDArray[np.int64]
    nr_node: NDArray[np.int64]
    flags: VM = VM.WRITE
    policy: Mempolicy | None = None
    file: AddressSpace | None = None
    nr_anon: int = 0
    nr_dirty: int = 0
    nr_active: int = 0
    nr_swap: int = 0
    unmapped: bool = False
    expected: NDArray[np.uint64] | None = None

    @property
    def end(self) -> int:
        return self.start + self.pages * self.mm.page_size

    @property
    def nr_mapped(self) -> int:
        return int(self.nr_node.sum())

    @property
    def shared(self) -> bool:
        return bool(self.flags & VM.SHARED)

    def policy_at(self, index: int) -> Mempolicy | None:
        """The policy of a page of its own, if it has one: shared memory has its policies with the object
        (get_vma_policy(), shmem_get_policy()); other shared files have none."""
        if self.file is not None and self.shared:
            return self.file.policy(self.pgoff + index)
        return self.policy

    def migratable(self, mlocked_moves: bool) -> bool:
        """vma_migratable(): I/O and reserved mappings never; locked ones as the profile has it."""
        return not self.flags & (VM.IO | VM.RESERVED) and (mlocked_moves or not self.flags & VM.LOCKED)

    def map(self, frames: MemMap, index: Indices, pfns: Pfns, bits: int | NDArray[np.int64]) -> None:
        """Present PTEs for frames whose reference the caller hands over: mapcount + 1, counts kept."""
        self.pte[index] = (pfns.astype(np.int64) << PTE_SHIFT) | PTE_PRESENT | bits
        frames.mapcount[pfns] += 1
        self._count(frames, index, pfns, +1)

    def unmap(self, frames: MemMap, index: Indices, replacement: NDArray[np.int64] | int) -> Pfns:
        """Replace present PTEs; mapcount - 1. The references of the PTEs become the caller's. Dirty PTEs dirty the page."""
        old = self.pte[index]
        pfns = (old >> PTE_SHIFT).astype(np.int32)
        self._count(frames, index, pfns, -1)
        frames.mapcount[pfns] -= 1
        self.pte[index] = replacement
        self.mm.rmap.set_dirty(frames, pfns[(old & PTE_DIRTY) != 0])
        return pfns

    def _count(self, frames: MemMap, index: Indices, pfns: Pfns, sign: int) -> None:
        self.nr_node += sign * np.bincount(frames.nid[pfns], minlength=len(self.nr_node))
        flags = frames.flags[pfns]
        dirty = ((self.pte[index] & PTE_DIRTY) != 0) | ((flags & PG.DIRTY) != 0)
        self.nr_dirty += sign * int(np.count_nonzero(dirty))
        self.nr_active += sign * int(np.count_nonzero(flags & (PG.ACTIVE | PG.MLOCKED)))
        self.nr_anon += sign * (len(pfns) if self.file is None else int((frames.mapping[pfns] > 0).sum()))
        self.mm.rss += sign * len(pfns)

    def mark(self, frames: MemMap, index: Indices, write: bool) -> None:
        """The CPU sets the accessed, and on a write the dirty bit of present, writable PTEs."""
        old = self.pte[index]
        if write:
            pfns = (old >> PTE_SHIFT).astype(np.int32)
            clean = ((old & PTE_DIRTY) == 0) & ((frames.flags[pfns] & PG.DIRTY) == 0)
            self.nr_dirty += int(np.count_nonzero(clean))
        self.pte[index] = old | (PTE_YOUNG | PTE_DIRTY if write else PTE_YOUNG)

    def pfns(self, index: Indices) -> Pfns:
        """The frames of present PTEs."""
        return (self.pte[index] >> PTE_SHIFT).astype(np.int32)

    def recount(self, frames: MemMap) -> None:
        """All counts from the PTEs, after the VMA was cut or grew."""
        pte = self.pte[(self.pte & PTE_PRESENT) != 0]
        pfns = (pte >> PTE_SHIFT).astype(np.int32)
        flags = frames.flags[pfns]
        self.nr_node = np.bincount(frames.nid[pfns], minlength=len(self.nr_node)).astype(np.int64)
        self.nr_dirty = int(np.count_nonzero(((pte & PTE_DIRTY) != 0) | ((flags & PG.DIRTY) != 0)))
        self.nr_active = int(np.count_nonzero(flags & (PG.ACTIVE | PG.MLOCKED)))
        self.nr_anon = int(np.count_nonzero(frames.mapping[pfns] > 0))
        self.nr_swap = int(np.count_nonzero(self.pte & PTE_SWAP))


@dataclass(eq=False, slots=True)
class Mm:
    """An address space. `users`: tasks and system calls that hold it; it is torn down when the last lets go.
    `cgroup`: the cpuset to which its new pages are charged."""

    page_size: int
    node_slots: int
    rmap: ReverseMap
    vmas: list[Vma] = field(default_factory=list[Vma])
    rss: int = 0
    users: int = 1
    cgroup: int = 0
    lock: MmapLock = field(default_factory=MmapLock)

    def find(self, address: int) -> Vma | None:
        """The VMA that holds an address."""
        low, high = 0, len(self.vmas)
        while low < high:
            middle = (low + high) // 2
            if self.vmas[middle].end <= address:
                low = middle + 1
            else:
                high = middle
        if low < len(self.vmas) and self.vmas[low].start <= address:
            return self.vmas[low]
        return None

    def insert(self, vma: Vma) -> None:
        insort(self.vmas, vma, key=lambda one: one.start)

    def spans(self, start: int, index: Indices) -> Iterator[tuple[Vma, Indices]]:
        """Pages counted from the address `start` (ascending), VMA by VMA with the indices there. Pages that nothing maps
        are left out."""
        if not len(index):
            return
        first, last = (start + int(page) * self.page_size for page in (index[0], index[-1]))
        low = bisect_right(self.vmas, first, key=lambda one: one.end)
        high = bisect_right(self.vmas, last, key=lambda one: one.start)
        for vma in self.vmas[low:high]:
            local = index + (start - vma.start) // self.page_size
            local = local[(local >= 0) & (local < vma.pages)]
            if len(local):
                yield vma, local


class ReverseMap:
    """From a frame to every VMA that may map it: mapping id → VMAs (mm/rmap.c; a file's i_mmap). `spaces`: the files by id."""

    def __init__(self) -> None:
        self._vmas: dict[int, list[Vma]] = {}
        self.spaces: dict[int, AddressSpace] = {}
        self._last = 0

    def new(self) -> int:
        """The id of a new anon_vma; negative, of a new file."""
        self._last += 1
        return self._last

    def link(self, vma: Vma) -> None:
        for mapping in _mappings(vma):
            self._vmas.setdefault(mapping, []).append(vma)
        if vma.file is not None:
            vma.file.mappings += 1

    def sharers(self, vma: Vma) -> int:
        """How many VMAs may map pages of this one's mappings; 1: nobody else."""
        return max(len(self._vmas[mapping]) for mapping in _mappings(vma))

    def mapped(self, space: AddressSpace) -> list[Vma]:
        """The VMAs that map a file."""
        return list(self._vmas.get(space.id, ()))

    def unlink(self, vma: Vma) -> None:
        for mapping in _mappings(vma):
            vmas = self._vmas[mapping]
            vmas.remove(vma)
            if not vmas:
                del self._vmas[mapping]
        if vma.file is not None:
            vma.file.mappings -= 1

    def set_dirty(self, frames: MemMap, pfns: Pfns) -> None:
        """SetPageDirty() and the tag of the radix tree, and the counts of all mappings that had the pages as clean."""
        clean = pfns[(frames.flags[pfns] & PG.DIRTY) == 0]
        self._count_dirty(frames, clean, +1)
        frames.flags[clean] |= PG.DIRTY
        self._tag(frames, clean, True)

    def clear_dirty(self, frames: MemMap, pfns: Pfns) -> None:
        """ClearPageDirty() and the tag, and the counts of all mappings whose PTEs are clean."""
        dirty = pfns[(frames.flags[pfns] & PG.DIRTY) != 0]
        self._count_dirty(frames, dirty, -1)
        frames.flags[dirty] &= ~np.uint32(PG.DIRTY)
        self._tag(frames, dirty, False)

    def _count_dirty(self, frames: MemMap, pfns: Pfns, sign: int) -> None:
        mapped = pfns[frames.mapcount[pfns] > 0]
        if len(mapped):
            for vma, at, index in self.walk(frames, mapped):
                pte = vma.pte[index]
                here = (pte & (PTE_PRESENT | PTE_DIRTY)) == PTE_PRESENT
                here &= (pte >> PTE_SHIFT) == mapped[at]
                vma.nr_dirty += sign * int(np.count_nonzero(here))

    def _tag(self, frames: MemMap, pfns: Pfns, dirty: bool) -> None:
        mapping = frames.mapping[pfns]
        for number in np.unique(mapping[mapping < 0]).tolist():
            self.spaces[number].dirty[frames.index[pfns[mapping == number]]] = dirty

    def walk(self, frames: MemMap, pfns: Pfns) -> Iterator[tuple[Vma, NDArray[np.int64], Indices]]:
        """For a batch: (vma, positions in `pfns`, page indices in the vma) where each frame may be mapped. The caller
        looks at the PTEs: they may name something else by now."""
        mapping, index = frames.mapping[pfns], frames.index[pfns]
        one = len(mapping) > 0 and (mapping == mapping[0]).all()
        for number in mapping[:1].tolist() if one else np.unique(mapping).tolist():
            for vma in self._vmas.get(number, ()):
                offset = index - vma.pgoff
                at = np.nonzero((mapping == number) & (offset >= 0) & (offset < vma.pages))[0]
                if len(at):
                    yield vma, at, offset[at]


def _mappings(vma: Vma) -> list[int]:
    """The anon_vma and the file, as far as it has them."""
    return [mapping for mapping in (vma.anon_vma, vma.file.id if vma.file is not None else 0) if mapping]
