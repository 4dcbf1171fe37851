"""mlock() and munlock() (mm/mlock.c)."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import PTE_PRESENT, VM, Vma
from backend.emulator.mm.placing import locked_elsewhere, mark_mlocked
from backend.emulator.mm.vma_merge import change_range
from backend.emulator.mm.vma_split import mapped
from backend.emulator.tasks.task import Task
from backend.errors import os_error


def mlock(m: Machine, task: Task, start: int, pages: int) -> Events:
    """Lock a range and fault all its pages in. Private writable pages get a write fault (populate_vma_page_range()).
    Returns 0. Raises OSError ENOMEM if part of the range is unmapped, ESRCH if the task has exited."""
    yield from _set(m, task, start, pages, lock=True)
    index = np.arange(pages, dtype=np.int64)
    for vma, local in list(task.mm.spans(start, index)) if task.mm is not None else ():
        private = bool(vma.flags & VM.WRITE) and not vma.shared
        yield from touch(m, task, task.leader, vma.start, local, write=private, store=False)
    return 0


def munlock(m: Machine, task: Task, start: int, pages: int) -> Events:
    """Unlock a range. Returns 0. Raises OSError ENOMEM if part of it is unmapped, ESRCH if the task has exited."""
    yield from _set(m, task, start, pages, lock=False)
    return 0


def _set(m: Machine, task: Task, start: int, pages: int, lock: bool) -> Events:
    mm = task.mm
    if mm is None or not task.alive:
        raise os_error(errno.ESRCH)
    yield from mm.lock.down_write(m.env)
    try:
        end = start + pages * m.page_size
        if not mapped(mm, start, end):
            raise os_error(errno.ENOMEM)
        for vma in change_range(m, mm, start, end, lambda vma: (_flags(vma, lock), vma.policy)):
            if m.profile.mlocked_flag:
                _mark_pages(m, vma, lock)
        yield from m.step("mlock", m.costs.syscall)
    finally:
        mm.lock.up_write()


def _flags(vma: Vma, lock: bool) -> VM:
    return vma.flags | VM.LOCKED if lock else vma.flags & ~VM.LOCKED


def _mark_pages(m: Machine, vma: Vma, lock: bool) -> None:
    """Set or clear PG_mlocked on the pages of a VMA. A page that another locked VMA maps keeps it."""
    pfns = vma.pfns(np.nonzero((vma.pte & PTE_PRESENT) != 0)[0])
    mark_mlocked(m, pfns if lock else pfns[~locked_elsewhere(m, pfns)], lock)
