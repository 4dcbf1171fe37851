"""Clearing page table entries (mm/memory.c zap_page_range())."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.page import State
from backend.emulator.machine import Machine
from backend.emulator.mm.huge_pages import whole_ranges
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, PTE_SWAP, VM, Indices, Vma
from backend.emulator.storage.swap_io import drop_unused


def zap(m: Machine, vma: Vma, index: Indices, cpu: int | None = None) -> None:
    """Clear the PTEs of a range (zap_page_range(), MADV_DONTNEED). Present pages lose a mapping, swap entries a user.
    hugetlb pages are unmapped whole. `cpu`: the CPU of the caller, whose pagevec is drained; None: no drain."""
    m.pagevecs.lru_add_drain(cpu)
    if vma.flags & VM.HUGETLB:
        index = whole_ranges(m, index)
    pte = vma.pte[index]
    present = index[(pte & PTE_PRESENT) != 0]
    pfns = vma.unmap(m.frames, present, 0)
    swapped = (pte & PTE_SWAP) != 0
    vma.pte[index[(pte & PTE_PRESENT) == 0]] = 0
    entries = (pte[swapped] >> PTE_SHIFT).astype(np.int32)
    vma.nr_swap -= len(entries)
    cached = m.swap.cache[entries]
    m.swap.release(entries)
    m.frames.put(pfns)
    # free_swap_and_cache(): pages that only the swap cache still refers to are freed.
    touched = np.concatenate([pfns, cached[cached >= 0]])
    drop_unused(m, touched[m.frames.state[touched] == State.IN_USE])
    if vma.expected is not None:
        vma.expected[index] = 0
