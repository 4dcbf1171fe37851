"""Changing attributes of a range: VMAs merge with their neighbours or are split (mm/mmap.c vma_merge(), mm/rmap.c
anon_vma_prepare())."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import VM, Mm, Vma
from backend.emulator.mm.vma_split import split

Attributes = tuple[VM, Mempolicy | None]
"""What a call changes of a VMA: its flags, its policy."""


def change_range(
    m: Machine, mm: Mm, start: int, end: int, wanted: Callable[[Vma], Attributes], merge: bool = True
) -> list[Vma]:
    """Give every VMA in a range the attributes that `wanted` says of it. Returns the VMAs that changed, which
    reach beyond the range where a neighbour had the same. The loop of mbind_range() and of apply_vma_lock_flags().

    Raises OSError EINVAL when a hugetlb page would be cut; what came before stays changed."""
    changed: list[Vma] = []
    position = start
    while position < end:
        vma = mm.find(position)
        if vma is None:
            position = next((one.start for one in mm.vmas if one.start > position), end)
            continue
        stop = min(end, vma.end)
        attributes = wanted(vma)
        if (vma.flags, vma.policy) != attributes:
            vma = (_merge(m, vma, position, stop, attributes) if merge else None) or _cut(m, vma, position, stop)
            vma.flags, vma.policy = attributes
            changed.append(vma)
        position = vma.end
    return changed


def anon_vma_prepare(m: Machine, vma: Vma) -> None:
    """Before the first anonymous page of a VMA: it shares the anon_vma of a neighbour that it could merge with, or gets
    one of its own (find_mergeable_anon_vma())."""
    at = vma.mm.vmas.index(vma)
    for near, first, second in (
        (at + 1, vma, _at(vma.mm, at + 1)),
        (at - 1, _at(vma.mm, at - 1), vma),
    ):
        other = _at(vma.mm, near)
        if (
            other is not None and other.own_anon and not other.inherited and first is not None and second is not None
            and first.policy == second.policy and not (first.flags ^ second.flags) & ~VM.WRITE
            and _adjacent(first, second)
        ):  # fmt: skip
            vma.own_anon = other.own_anon
            return
    vma.own_anon = m.rmap.new()


def _at(mm: Mm, position: int) -> Vma | None:
    return mm.vmas[position] if 0 <= position < len(mm.vmas) else None


def _merge(m: Machine, vma: Vma, start: int, end: int, attributes: Attributes) -> Vma | None:
    """vma_merge() of 6.1 for the part of `vma` from `start` to `end`. Returns the VMA that has it now, or None."""
    at = vma.mm.vmas.index(vma)
    before = _at(vma.mm, at - 1) if vma.start == start else None
    after = _at(vma.mm, at + 1) if vma.end == end else None
    joins_before = before is not None and _alike(before, attributes, vma) and _adjacent(before, vma)
    joins_after = after is not None and _alike(after, attributes, vma) and _adjacent(vma, after)
    if before is not None and joins_before:
        merged = _join(m, before, _cut(m, vma, start, end))
        if after is not None and joins_after and _share_anon(before, after):
            merged = _join(m, merged, after)
        return merged
    if after is not None and joins_after:
        return _join(m, _cut(m, vma, start, end), after)
    return None


def _alike(neighbour: Vma, attributes: Attributes, vma: Vma) -> bool:
    """Whether the part of `vma` may join a neighbour (can_vma_merge_after(), is_mergeable_anon_vma()): not where one
    was copied by a fork."""
    if (neighbour.flags, neighbour.policy) != attributes:
        return False
    if not (neighbour.own_anon and vma.own_anon) and neighbour.own_anon and not neighbour.inherited:
        return True
    return neighbour.own_anon == vma.own_anon


def _share_anon(first: Vma, second: Vma) -> bool:
    return not (first.own_anon and second.own_anon) or first.own_anon == second.own_anon


def _adjacent(first: Vma, second: Vma) -> bool:
    """The second continues the first in memory and in what is mapped."""
    same = (first.anon_vma, first.file, first.kind) == (second.anon_vma, second.file, second.kind)
    return same and first.end == second.start and first.pgoff + first.pages == second.pgoff


def _cut(m: Machine, vma: Vma, start: int, end: int) -> Vma:
    """The part of a VMA, as a VMA."""
    if vma.start < start:
        vma = split(m, vma, start)
    if vma.end > end:
        split(m, vma, end)
    return vma


def _join(m: Machine, first: Vma, second: Vma) -> Vma:
    first.pte = np.concatenate([first.pte, second.pte])
    if first.expected is not None and second.expected is not None:
        first.expected = np.concatenate([first.expected, second.expected])
    first.pages += second.pages
    if not first.own_anon:
        first.own_anon, first.inherited = second.own_anon, second.inherited
    first.recount(m.frames)
    m.rmap.unlink(second)
    second.mm.vmas.remove(second)
    second.unmapped = True
    return first
