"""Splitting VMAs at the ends of a range (mm/mmap.c split_vma())."""

from __future__ import annotations

import errno
from dataclasses import replace

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import VM, Mm, Vma
from backend.errors import os_error


def mapped(mm: Mm, start: int, end: int) -> bool:
    """Whether all of a range is mapped."""
    position = start
    for vma in overlapping(mm, start, end):
        if vma.start > position:
            return False
        position = vma.end
    return position >= end


def split_at_ends(m: Machine, mm: Mm, start: int, end: int) -> list[Vma]:
    """The VMAs of a range, which may have holes: cut where the range begins and ends (do_munmap())."""
    inside = overlapping(mm, start, end)
    if inside and inside[0].start < start:
        inside[0] = split(m, inside[0], start)
    if inside and inside[-1].end > end:
        split(m, inside[-1], end)
    return inside


def overlapping(mm: Mm, start: int, end: int) -> list[Vma]:
    """The VMAs that have a part in a range, in order."""
    return [vma for vma in mm.vmas if vma.start < end and vma.end > start]


def split(m: Machine, vma: Vma, address: int) -> Vma:
    """Split a VMA in two and return the upper one. A transparent huge page across the boundary is not split: each VMA
    maps a part of it (split_huge_pmd_address() splits only the page table). Raises OSError EINVAL if a hugetlb page
    would be cut (hugetlb_vm_op_split())."""
    if vma.flags & VM.HUGETLB and address % (m.frames.huge * m.page_size):
        raise os_error(errno.EINVAL)
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
