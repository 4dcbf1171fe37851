"""mlock() and munlock(): pages that are brought in and stay in (mm/mlock.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np

from backend.emulator.fault import touch
from backend.emulator.mm import PTE_PRESENT, VM, Vma
from backend.emulator.page_lock import Events
from backend.emulator.placing import mark_mlocked
from backend.emulator.syscalls import fail
from backend.emulator.task import Task
from backend.emulator.vma_split import isolate_range, merge_neighbours

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


def mlock(m: Machine, task: Task, start: int, pages: int) -> Events:
    """Lock a range and touch all of it. OSError ENOMEM where part of it is not mapped."""
    yield from _set(m, task, start, pages, lock=True)
    yield from touch(m, task, task.leader, start, np.arange(pages, dtype=np.int64), write=True)
    return 0


def munlock(m: Machine, task: Task, start: int, pages: int) -> Events:
    """Unlock a range. OSError ENOMEM where part of it is not mapped."""
    yield from _set(m, task, start, pages, lock=False)
    return 0


def _set(m: Machine, task: Task, start: int, pages: int, lock: bool) -> Events:
    mm = task.mm
    if mm is None or not task.alive:
        raise fail(errno.ESRCH)
    yield from mm.lock.down_write(m.env)
    try:
        vmas = isolate_range(m, mm, start, start + pages * m.page_size)
        if vmas is None:
            raise fail(errno.ENOMEM)
        for vma in vmas:
            vma.flags = vma.flags | VM.LOCKED if lock else vma.flags & ~VM.LOCKED
            if m.profile.mlocked_flag:
                _mark_pages(m, vma, lock)
        yield from m.step("mlock", m.costs.syscall)
    finally:
        merge_neighbours(m, mm)
        mm.lock.up_write()


def _mark_pages(m: Machine, vma: Vma, lock: bool) -> None:
    """The pages say so themselves. One that another locked mapping has too keeps its mark."""
    pfns = vma.pfns(np.nonzero((vma.pte & PTE_PRESENT) != 0)[0])
    mark_mlocked(m, pfns if lock else pfns[m.frames.mapcount[pfns] == 1], lock)
