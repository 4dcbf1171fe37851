"""Address spaces: VMAs with page tables and page counts, and the reverse map (include/linux/mm_types.h, mm/rmap.c)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.batches import every, pick, span
from backend.emulator.frames.frames import MemMap, head_of
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mmap_lock import MmapLock
from backend.emulator.storage.filesystem import AddressSpace

Indices = NDArray[np.int64]
"""Page indices within a VMA."""

PTE_PRESENT, PTE_YOUNG, PTE_DIRTY, PTE_WRITE, PTE_SWAP, PTE_MIGRATION, PTE_ZERO = 1, 2, 4, 8, 16, 32, 64
PTE_PROTNONE = 128
"""Set together with PTE_PRESENT: the next access takes a NUMA hinting fault."""
PTE_SHIFT = 8
"""A PTE is an int64. The low byte holds flags, the upper bits a pfn (present, migration) or a swap entry. 0: no PTE.
PTE_ZERO alone: the zero page, which has no frame and no counts."""


class VM(IntFlag):
    """VMA flags (include/linux/mm.h)."""

    WRITE = 1
    LOCKED = 2
    IO = 4
    RESERVED = 8
    SHARED = 16
    HUGEPAGE = 32
    HUGETLB = 64


_SHARED = int(VM.SHARED)
"""A plain int, because operations on IntFlag are slow."""


@dataclass(eq=False, slots=True)
class Vma:
    """One mapping, anonymous or of a `file`. `pgoff`: first page, in pages of the file or of the address space.
    `anon_vma`: 0 for shared mappings. `expected`: value last written to each private page, kept only for tests.

    The counts of mapped pages (`nr_node` by node, `nr_anon`, `nr_dirty`, `nr_active`) and of swap PTEs (`nr_swap`) are
    updated with the PTEs, so that numa_maps does not have to walk the page table."""

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
    own_anon: int = 0
    """What the kernel's vma->anon_vma is to merging: 0 until the first anonymous page, another one in a child.
    `anon_vma` is the root of the tree, which finds the pages of parents and children alike."""
    inherited: bool = False
    """Copied by a fork, with pages of the parent's (anon_vma_chain is not singular)."""
    known_mapmax: tuple[int, int] = field(default=(-1, 1), init=False)
    """Cache of `ReverseMap.mapmax`: (number of changes when it was computed, value)."""

    @property
    def end(self) -> int:
        return self.start + self.pages * self.mm.page_size

    @property
    def nr_mapped(self) -> int:
        return int(self.nr_node.sum())

    @property
    def shared(self) -> bool:
        return bool(int(self.flags) & _SHARED)

    def policy_at(self, index: int) -> Mempolicy | None:
        """The policy at a page, None if there is none (get_vma_policy()). Those of shared memory and tmpfs belong to
        the object, for private mappings of it, too (shmem_get_policy())."""
        if self.file is not None and self.file.swap_backed:
            return self.file.policy(self.pgoff + index)
        return self.policy

    def migratable(self, mlocked_moves: bool) -> bool:
        """vma_migratable(). I/O and reserved VMAs never migrate. Locked and hugetlb VMAs migrate only with
        `mlocked_moves`: the same kernels gained both."""
        return not self.flags & (VM.IO | VM.RESERVED) and (mlocked_moves or not self.flags & (VM.LOCKED | VM.HUGETLB))

    def map(self, frames: MemMap, index: Indices, pfns: Pfns, bits: int | NDArray[np.int64]) -> None:
        """Set present PTEs, mapcount + 1. The caller hands over a reference to each frame. `bits`: further PTE bits."""
        pte = pfns.astype(np.int64)
        pte <<= PTE_SHIFT
        pte |= bits | PTE_PRESENT
        self.pte[span(index)] = pte
        frames.mapcount[span(pfns)] += 1
        self.mm.rmap.changed(self)
        self._count(frames, index, pfns, +1)

    def unmap(self, frames: MemMap, index: Indices, replacement: NDArray[np.int64] | int) -> Pfns:
        """Replace present PTEs, mapcount - 1. Returns the frames; the caller takes over the references of the PTEs. A
        dirty PTE makes its page dirty."""
        at = span(index)
        old = self.pte[at]
        pfns = (old >> PTE_SHIFT).astype(np.int32)
        dirty = (old & PTE_DIRTY) != 0
        self._count(frames, index, pfns, -1)
        # KSM: a batch may name a frame twice, and indexed assignment would count it once.
        if frames.repeats:
            np.subtract.at(frames.mapcount, pfns, 1)
        else:
            frames.mapcount[span(pfns)] -= 1
        self.mm.rmap.changed(self)
        self.pte[at] = replacement
        self.mm.rmap.set_dirty(frames, pick(pfns, dirty))
        return pfns

    def _count(self, frames: MemMap, index: Indices, pfns: Pfns, sign: int) -> None:
        at = span(pfns)
        for nid, here in frames.by_node(pfns):
            self.nr_node[nid] += sign * len(pfns[here])
        flags = frames.flags[at]
        dirty = ((self.pte[span(index)] & PTE_DIRTY) != 0) | ((flags & PG.DIRTY) != 0)
        self.nr_dirty += sign * int(np.count_nonzero(dirty))
        self.nr_active += sign * int(np.count_nonzero(flags & (PG.ACTIVE | PG.MLOCKED)))
        self.nr_anon += sign * (len(pfns) if self.file is None else int((frames.mapping[at] > 0).sum()))
        self.mm.rss += sign * len(pfns)

    def mark(self, frames: MemMap, index: Indices, write: bool) -> None:
        """Set the accessed bit, and on a write the dirty bit, of present PTEs, as the CPU does."""
        at = span(index)
        old = self.pte[at]
        if write:
            pfns = (old >> PTE_SHIFT).astype(np.int32)
            clean = ((old & PTE_DIRTY) == 0) & ((frames.flags[span(pfns)] & PG.DIRTY) == 0)
            self.nr_dirty += int(np.count_nonzero(clean))
        self.pte[at] = old | (PTE_YOUNG | PTE_DIRTY if write else PTE_YOUNG)

    def pfns(self, index: Indices) -> Pfns:
        """The frames of present PTEs."""
        return (self.pte[span(index)] >> PTE_SHIFT).astype(np.int32)

    def recount(self, frames: MemMap) -> None:
        """Compute all counts from the PTEs, after the VMA was split or merged."""
        pte = self.pte[(self.pte & PTE_PRESENT) != 0]
        pfns = (pte >> PTE_SHIFT).astype(np.int32)
        flags = frames.flags[pfns]
        self.nr_node = np.bincount(frames.nid[pfns], minlength=len(self.nr_node)).astype(np.int64)
        self.nr_dirty = int(np.count_nonzero(((pte & PTE_DIRTY) != 0) | ((flags & PG.DIRTY) != 0)))
        self.nr_active = int(np.count_nonzero(flags & (PG.ACTIVE | PG.MLOCKED)))
        self.nr_anon = int(np.count_nonzero(frames.mapping[pfns] > 0))
        self.nr_swap = int(np.count_nonzero(self.pte & PTE_SWAP))
        self.known_mapmax = (-1, 1)


@dataclass(eq=False, slots=True)
class Mm:
    """An address space. `users`: tasks and system calls that hold it (mm_users); mmput() of the last one tears it down.
    `rss`: present PTEs. `cgroup`: id of the cpuset that its new pages are charged to."""

    page_size: int
    node_slots: int
    rmap: ReverseMap
    vmas: list[Vma] = field(default_factory=list[Vma])
    rss: int = 0
    users: int = 1
    cgroup: int = 0
    lock: MmapLock = field(default_factory=MmapLock)

    def find(self, address: int) -> Vma | None:
        """The VMA that contains an address, or None."""
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
        """Yields (vma, page indices in the vma) for pages counted from the address `start`, in address order. Skips
        pages outside every VMA."""
        if not len(index):
            return
        low, high = start + int(index.min()) * self.page_size, start + int(index.max()) * self.page_size
        first = max(0, bisect_right(self.vmas, low, key=lambda vma: vma.start) - 1)
        for vma in self.vmas[first : bisect_right(self.vmas, high, key=lambda vma: vma.start)]:
            local = index + (start - vma.start) // self.page_size
            local = pick(local, (local >= 0) & (local < vma.pages))
            if len(local):
                yield vma, local


def _counted(frames: MemMap, pfns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The frames whose map counts numa_maps looks at: of a huge page that is mapped whole, the head."""
    if not frames.compounds:
        return pfns
    heads = np.where(frames.flags[pfns] & PG.COMPOUND, head_of(frames, pfns.astype(np.int32)), pfns)
    _, inverse, counts = np.unique(heads, return_inverse=True, return_counts=True)
    return pfns[(counts[inverse] < frames.huge) | (heads == pfns)]


class ReverseMap:
    """The reverse map: finds every VMA that may map a frame (mm/rmap.c; i_mmap of files). `spaces`: files by mapping
    id. `ksm`: for the mapping id of a merged page, the (mm, address) pairs that may map it."""

    def __init__(self) -> None:
        self._vmas: dict[int, list[Vma]] = {}
        self._changes: dict[int, int] = {}
        self._all_changes = 0
        self.spaces: dict[int, AddressSpace] = {}
        self.ksm: dict[int, list[tuple[Mm, int]]] = {}
        self._by_value: dict[int, tuple[int, int]] = {}
        self._last = 0

    def new(self) -> int:
        """A new mapping id. Positive for an anon_vma; callers negate it for a file."""
        self._last += 1
        return self._last

    def link(self, vma: Vma) -> None:
        for mapping in _mappings(vma):
            self._vmas.setdefault(mapping, []).append(vma)
        self.changed(vma)
        if vma.file is not None:
            vma.file.mappings += 1

    def sharers(self, vma: Vma) -> int:
        """Number of VMAs that may map the pages of this VMA, itself included."""
        return max(len(self._vmas[mapping]) for mapping in _mappings(vma))

    def changed(self, vma: Vma) -> None:
        """Record that map counts of the VMA's pages changed: invalidates cached mapmax values."""
        self._all_changes += 1
        for mapping in _mappings(vma):
            self._changes[mapping] = self._changes.get(mapping, 0) + 1

    def mapmax(self, frames: MemMap, vma: Vma) -> int:
        """The highest mapcount of the VMA's pages (mapmax in numa_maps). Computed only if other VMAs may map the pages,
        and cached until a mapping changes. Merged pages belong to neither mapping of the VMA, so once KSM ran any
        change of any mapping invalidates the cache."""
        changes = self._changes.get(vma.anon_vma, 0)
        if vma.file is not None:
            changes += self._changes.get(vma.file.id, 0)
        if frames.repeats:
            # Below -1, so that it equals neither the initial -1 nor a count of the VMA's own mappings.
            changes = -2 - self._all_changes
        known, most = vma.known_mapmax
        if known != changes:
            most = 1
            if frames.repeats or self.sharers(vma) > 1:
                pfns = vma.pte[(vma.pte & PTE_PRESENT) != 0] >> PTE_SHIFT
                most = int(frames.mapcount[_counted(frames, pfns)].max()) if len(pfns) else 0
            vma.known_mapmax = (changes, most)
        return most

    def new_ksm(self, value: int, pfn: int, place: tuple[Mm, int]) -> int:
        """Register a merged page that is mapped at `place` only. Returns its mapping id."""
        number = self.new()
        self.ksm[number] = [place]
        self._by_value[value] = (number, pfn)
        return number

    def ksm_frame(self, frames: MemMap, value: int) -> int:
        """The merged frame with these contents (stable_tree_search()), or -1 if there is none or it is locked. Finds it
        again if it has migrated."""
        number, pfn = self._by_value.get(value, (0, -1))
        if not number:
            return -1
        if frames.mapping[pfn] != number:
            where = np.nonzero(frames.mapping == number)[0]
            if not len(where):
                del self._by_value[value], self.ksm[number]
                return -1
            pfn = int(where[0])
            self._by_value[value] = (number, pfn)
        return -1 if frames.flags[pfn] & PG.LOCKED or not frames.flags[pfn] & PG.KSM else pfn

    def mapped(self, space: AddressSpace) -> list[Vma]:
        """The VMAs that map a file."""
        return list(self._vmas.get(space.id, ()))

    def unlink(self, vma: Vma) -> None:
        for mapping in _mappings(vma):
            vmas = self._vmas[mapping]
            vmas.remove(vma)
            if vmas:
                self._changes[mapping] += 1
            else:
                del self._vmas[mapping], self._changes[mapping]
        if vma.file is not None:
            vma.file.mappings -= 1

    def set_dirty(self, frames: MemMap, pfns: Pfns) -> None:
        """SetPageDirty(): also tags the radix tree and updates the dirty counts of all VMAs that map the pages."""
        clean = pick(pfns, (frames.flags[span(pfns)] & PG.DIRTY) == 0)
        if not len(clean):
            return
        self._count_dirty(frames, clean, +1)
        frames.flags[span(clean)] |= PG.DIRTY
        self._tag(frames, clean, True)

    def clear_dirty(self, frames: MemMap, pfns: Pfns) -> None:
        """ClearPageDirty(): also clears the tag and updates the dirty counts of all VMAs that map the pages."""
        dirty = pick(pfns, (frames.flags[span(pfns)] & PG.DIRTY) != 0)
        self._count_dirty(frames, dirty, -1)
        frames.flags[span(dirty)] &= ~np.uint32(PG.DIRTY)
        self._tag(frames, dirty, False)

    def _count_dirty(self, frames: MemMap, pfns: Pfns, sign: int) -> None:
        mapped = pick(pfns, frames.mapcount[span(pfns)] > 0)
        if len(mapped):
            for vma, _, _, pte in self.ptes(frames, mapped, PTE_PRESENT, mapped):
                vma.nr_dirty += sign * int(np.count_nonzero((pte & PTE_DIRTY) == 0))

    def _tag(self, frames: MemMap, pfns: Pfns, dirty: bool) -> None:
        for number, mine in by_mapping(frames, pfns):
            if number < 0:
                self.spaces[number].dirty[span(frames.index[span(mine)])] = dirty

    def walk(self, frames: MemMap, pfns: Pfns) -> Iterator[tuple[Vma, NDArray[np.int64], Indices]]:
        """Yields (vma, positions in `pfns`, page indices in the vma) where each frame may be mapped. The caller must
        check that the PTEs there still name the frames."""
        for vma, at, index in self._places(frames, pfns):
            yield vma, np.arange(len(pfns), dtype=np.int64)[at], index

    def ptes(
        self, frames: MemMap, pfns: Pfns, kind: int, names: Pfns
    ) -> Iterator[tuple[Vma, Where, Indices, NDArray[np.int64]]]:
        """Yields (vma, positions in `pfns`, page indices in the vma, PTEs) for the PTEs of a `kind` (PTE_PRESENT,
        PTE_SWAP or PTE_MIGRATION) that name the frame or swap entry in `names`. The PTEs may be a view of the page
        table and change with it."""
        for vma, at, index in self._places(frames, pfns):
            pte = vma.pte[span(index)]
            named = names[at]
            here = ((pte & kind) != 0) & ((pte >> PTE_SHIFT) == named)
            if every(here):
                yield vma, at, index, pte
            elif here.any():
                yield vma, np.arange(len(pfns), dtype=np.int64)[at][here], index[here], pte[here]

    def _places(self, frames: MemMap, pfns: Pfns) -> Iterator[tuple[Vma, Where, Indices]]:
        """As `walk`, but positions are a slice if they cover the whole batch."""
        frame = span(pfns)
        for number, which in _groups(frames.mapping[frame]):
            if number in self.ksm:
                yield from self._walk_ksm(number, np.arange(len(pfns), dtype=np.int64)[which])
                continue
            for vma in self._vmas.get(number, ()):
                offset = frames.index[frame] - vma.pgoff
                inside = (offset >= 0) & (offset < vma.pages)
                if not isinstance(which, slice):
                    inside &= which
                if every(inside):
                    yield vma, slice(None), offset
                elif inside.any():
                    at = np.nonzero(inside)[0]
                    yield vma, at, offset[at]

    def _walk_ksm(self, number: int, at: NDArray[np.int64]) -> Iterator[tuple[Vma, NDArray[np.int64], Indices]]:
        """The mappings of a merged page, one at a time (rmap_walk_ksm())."""
        for mm, address in list(self.ksm[number]):
            vma = mm.find(address)
            if vma is not None:
                yield vma, at, np.full(len(at), (address - vma.start) // mm.page_size, np.int64)


Where = NDArray[np.int64] | slice


def _groups(mapping: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.bool_] | slice]]:
    """Yields (mapping id, mask or slice of its positions) for each distinct id of a batch."""
    if not len(mapping):
        return
    first = int(mapping[0])
    if every(mapping == first):
        yield first, slice(None)
        return
    for number in np.unique(mapping).tolist():
        yield number, mapping == number


def by_mapping(frames: MemMap, pfns: Pfns) -> Iterator[tuple[int, Pfns]]:
    """Yields (mapping id, its frames) for each mapping in a batch."""
    for number, which in _groups(frames.mapping[span(pfns)]):
        yield number, pfns[which]


def _mappings(vma: Vma) -> list[int]:
    """Mapping ids of a VMA: its anon_vma and its file, if any."""
    return [mapping for mapping in (vma.anon_vma, vma.file.id if vma.file is not None else 0) if mapping]
