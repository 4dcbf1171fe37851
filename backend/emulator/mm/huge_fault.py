"""Faults that map a huge page (mm/huge_memory.c do_huge_pmd_anonymous_page(), mm/hugetlb.c hugetlb_no_page(),
hugetlb_wp())."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.frames import head_of
from backend.emulator.machine import Machine
from backend.emulator.mm.file_fault import BusError
from backend.emulator.mm.huge_pages import alloc_hugetlb, alloc_transparent, huge_ranges, whole_ranges
from backend.emulator.mm.mm import PTE_SHIFT, PTE_ZERO, VM, Indices, Vma
from backend.emulator.mm.placing import map_new
from backend.emulator.mm.vma_merge import anon_vma_prepare
from backend.emulator.tasks.task import Task, Thread


def wants_huge(vma: Vma, write: bool) -> bool:
    """Whether a fault on an empty PTE may map a huge page. A read maps a hugetlb page, but no transparent huge page."""
    return bool(vma.flags & VM.HUGETLB or (write and vma.flags & VM.HUGEPAGE))


def may_be_huge(m: Machine, pte: int) -> bool:
    """Whether a huge page can come where this PTE is: it is empty, or of the huge zero page."""
    return not pte or (m.profile.huge_over_zero and pte == PTE_ZERO)


def fault_huge(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> int:
    """Map huge pages at empty PTEs wherever the whole range fits the VMA and a huge page is free. Returns the number of
    huge pages. Raises BusError if the hugetlb pool is empty."""
    count = 0
    for pages in huge_ranges(m, vma, index, m.profile.huge_over_zero):
        if vma.flags & VM.HUGETLB:
            pfns = alloc_hugetlb(m, task, thread, vma, pages)
            if not len(pfns):
                raise BusError(f"{vma.start + int(pages[0]) * m.page_size:x}")
        else:
            pfns = alloc_transparent(m, task, thread, vma, pages)
            if not len(pfns):
                continue
        map_new(m, vma, pages, pfns)
        m.reclaim.after_alloc()
        m.count("pgfault", 1)
        count += 1
    task.min_flt += count
    return count


def read_zero(m: Machine, vma: Vma, index: Indices) -> None:
    """Reads of empty PTEs map the zero page. Where a transparent huge page would fit, the huge one: a write then maps
    a huge page, or before 6.13 copies a single page of it (do_huge_zero_wp_pmd())."""
    for pages in huge_ranges(m, vma, index):
        anon_vma_prepare(m, vma)
        vma.pte[pages] = PTE_ZERO
    vma.pte[index[vma.pte[index] == 0]] = PTE_ZERO


def shared_block(m: Machine, vma: Vma, index: int, pfn: int) -> bool:
    """Whether a write to a page of a huge page must copy it: the huge page has one reference only where one PMD maps
    all of it, and nothing else any part (do_huge_pmd_wp_page(), do_wp_page())."""
    head = int(head_of(m.frames, np.array([pfn], np.int32))[0])
    first, size = index - (pfn - head), m.frames.huge
    if first < 0 or first + size > vma.pages:
        return True
    mine = vma.pte[first : first + size] >> PTE_SHIFT
    return bool((mine != np.arange(head, head + size)).any() or (m.frames.mapcount[head : head + size] != 1).any())


def copy_hugetlb(m: Machine, task: Task, thread: Thread, vma: Vma, index: int) -> None:
    """Copy a whole hugetlb page on a write, because other PTEs map it too. Raises BusError if the pool is empty."""
    pages = whole_ranges(m, np.array([index], np.int64))
    new = alloc_hugetlb(m, task, thread, vma, pages)
    if not len(new):
        raise BusError(f"{vma.start + int(pages[0]) * m.page_size:x}")
    m.frames.contents[new] = m.frames.contents[vma.pfns(pages)]
    m.frames.put(vma.unmap(m.frames, pages, 0))
    map_new(m, vma, pages, new)
    m.count("pgcow", 1)
