"""Splitting VMAs at the ends of a range, and merging neighbours with equal attributes (mm/mmap.c split_vma(),
vma_merge())."""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import pairwise

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import VM, Mm, Vma
from backend.errors import os_error


def isolate_range(m: Machine, mm: Mm, start: int, end: int) -> list[Vma] | None:
    """Split VMAs at `start` and `end`. Returns the VMAs between, or None without any change if part of the range is
    unmapped. Raises OSError EINVAL if the split would cut a hugetlb page (hugetlb_vm_op_split())."""
    inside = [vma for vma in mm.vmas if vma.start < end and vma.end > start]
    if not inside or inside[0].start > start or inside[-1].end < end:
        return None
    if any(before.end != after.start for before, after in pairwise(inside)):
        return None
    huge = m.frames.huge * m.page_size
    for vma, edge in ((inside[0], start), (inside[-1], end)):
        if vma.flags & VM.HUGETLB and edge % huge:
            raise os_error(errno.EINVAL)
    if inside[0].start < start:
        inside[0] = _split(m, inside[0], start)
    if inside[-1].end > end:
        _split(m, inside[-1], end)
    return inside


def merge_neighbours(m: Machine, mm: Mm) -> None:
    """Merge adjacent VMAs of the same mapping with equal attributes (can_vma_merge_after())."""
    position = 0
    while position + 1 < len(mm.vmas):
        first, second = mm.vmas[position], mm.vmas[position + 1]
        alike = (first.anon_vma, first.file, first.flags, first.policy, first.kind, first.name) == (
            second.anon_vma, second.file, second.flags, second.policy, second.kind, second.name,
        )  # fmt: skip
        if not alike or first.end != second.start or first.pgoff + first.pages != second.pgoff:
            position += 1
            continue
        first.pte = np.concatenate([first.pte, second.pte])
        if first.expected is not None and second.expected is not None:
            first.expected = np.concatenate([first.expected, second.expected])
        first.pages += second.pages
        first.recount(m.frames)
        _remove(m, second)


def _split(m: Machine, vma: Vma, address: int) -> Vma:
    """Split a VMA in two and return the upper one. A transparent huge page across the boundary is not split: each VMA
    maps a part of it (split_huge_pmd_address() splits only the page table)."""
    at = (address - vma.start) // m.page_size
    upper = replace(
        vma,
        start=address,
        pages=vma.pages - at,
        pgoff=vma.pgoff + at,
        pte=vma.pte[at:].copy(),
        nr_node=np.zeros_like(vma.nr_node),
        expected=None if vma.expected is None else vma.expected[at:].copy(),
    )
    vma.pte = vma.pte[:at].copy()
    if vma.expected is not None:
        vma.expected = vma.expected[:at].copy()
    vma.pages = at
    for part in (vma, upper):
        part.recount(m.frames)
    vma.mm.insert(upper)
    m.rmap.link(upper)
    return upper


def _remove(m: Machine, vma: Vma) -> None:
    m.rmap.unlink(vma)
    vma.mm.vmas.remove(vma)
    vma.unmapped = True
