"""Finds lost writes and stale pages: compares the contents of all pages with the last values written. Needs a machine
with `MachineSpec.watch`."""

from __future__ import annotations

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_MIGRATION, PTE_PRESENT, PTE_SHIFT, PTE_SWAP, Vma
from backend.emulator.storage.filesystem import AddressSpace


def damaged_pages(m: Machine) -> int:
    """Number of pages of living tasks and files whose contents are not the last value written. No migration or I/O may
    be in progress."""
    vmas = [vma for task in m.tasks.values() if task.mm is not None for vma in task.mm.vmas]
    return sum(_private(m, vma) for vma in vmas if not vma.shared) + sum(
        _file(m, space) for space in m.rmap.spaces.values()
    )


def _private(m: Machine, vma: Vma) -> int:
    if vma.expected is None:
        return 0
    pte = vma.pte
    number = pte >> PTE_SHIFT
    pfns = np.where((pte & (PTE_PRESENT | PTE_MIGRATION)) != 0, number, -1)
    swapped = (pte & PTE_SWAP) != 0
    pfns[swapped] = m.swap.cache[number[swapped]]
    value = vma.expected.copy()
    known = pfns >= 0
    own = known.copy()
    own[known] = m.frames.mapping[pfns[known]] >= 0
    value[own] = m.frames.contents[pfns[own]]
    stored = swapped & ~known
    value[stored] = m.swap.contents[number[stored]]
    return int(np.count_nonzero(value != vma.expected))


def _file(m: Machine, space: AddressSpace) -> int:
    if space.expected is None:
        return 0
    value = space.device.copy()
    cached = space.pages >= 0
    value[cached] = m.frames.contents[space.pages[cached]]
    for index in np.nonzero(space.swapped >= 0)[0].tolist():
        slot = int(space.swapped[index])
        pfn = int(m.swap.cache[slot])
        value[index] = m.frames.contents[pfn] if pfn >= 0 else m.swap.contents[slot]
    return int(np.count_nonzero(value[: space.size] != space.expected[: space.size]))
