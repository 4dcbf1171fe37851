"""/proc/PID/smaps, and /proc/PID/clear_refs, which makes its `Referenced:` mean "since then" (fs/proc/task_mmu.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import numpy as np

from backend.emulator.frames.page import PG
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_DIRTY, PTE_PRESENT, PTE_SHIFT, PTE_SWAP, PTE_YOUNG, VM, Vma
from backend.emulator.tasks.accessed import settle
from backend.emulator.tasks.task import Task
from backend.errors import os_error

_ALL, _ANON, _FILE, _SOFT_DIRTY, _PEAK = b"1", b"2", b"3", b"4", b"5"
"""What may be written (enum clear_refs_types)."""


def render(m: Machine, task: Task, head: Callable[[Vma], str]) -> bytes:
    """show_smap(). `head`: a mapping's line of maps."""
    out: list[str] = []
    if task.mm is not None:
        settle(m, task.mm)
    for vma in task.mm.vmas if task.mm else ():
        present = vma.pte[(vma.pte & PTE_PRESENT) != 0]
        pfns = present >> PTE_SHIFT
        referenced = ((present & PTE_YOUNG) != 0) | ((m.frames.flags[pfns] & PG.REFERENCED) != 0)
        dirty = (present & PTE_DIRTY) != 0
        shared = m.frames.mapcount[pfns] > 1
        anon = m.frames.mapping[pfns] < 0
        kb = m.page_size // 1024
        page = kb * m.frames.huge if vma.flags & VM.HUGETLB else kb
        counts = {
            "Size": vma.pages * kb, "KernelPageSize": page, "MMUPageSize": page, "Rss": len(pfns) * kb,
            "Shared_Clean": _count(shared & ~dirty) * kb, "Shared_Dirty": _count(shared & dirty) * kb,
            "Private_Clean": _count(~shared & ~dirty) * kb, "Private_Dirty": _count(~shared & dirty) * kb,
            "Referenced": _count(referenced) * kb, "Anonymous": _count(anon) * kb,
            "Swap": _count((vma.pte & PTE_SWAP) != 0) * kb,
        }  # fmt: skip
        out.append(head(vma))
        out += [f"{name + ':':<16}{amount:>8} kB\n" for name, amount in counts.items()]
    return "".join(out).encode("latin-1")


def clear_refs(m: Machine, task: Task, data: bytes) -> None:
    """clear_refs_write(): forgets which pages were accessed, in the PTEs and in the pages. Raises OSError EINVAL."""
    kind = data.strip()
    if kind not in (_ALL, _ANON, _FILE, _SOFT_DIRTY, _PEAK):
        raise os_error(errno.EINVAL)
    if kind in (_SOFT_DIRTY, _PEAK) or task.mm is None:
        return
    settle(m, task.mm)
    for vma in task.mm.vmas:
        if (kind == _ANON and vma.file is not None) or (kind == _FILE and vma.file is None):
            continue
        present = (vma.pte & PTE_PRESENT) != 0
        m.frames.flags[vma.pte[present] >> PTE_SHIFT] &= ~np.uint32(PG.REFERENCED)
        vma.pte[present] &= ~np.int64(PTE_YOUNG)


def _count(which: np.ndarray) -> int:
    return int(np.count_nonzero(which))
