"""Kernel samepage merging (linux-6, mm/ksm.c).

Anonymous pages with equal contents become one frame that many PTEs map read-only. The reverse map lists these PTEs.
Merged pages are not swapped out here."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.frames.page import PG
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_DIRTY, PTE_PRESENT, PTE_SHIFT, PTE_WRITE, Indices, Vma
from backend.emulator.tasks.task import Task
from backend.errors import os_error


def merge(m: Machine, task: Task, start: int, index: Indices) -> Events:
    """madvise(MADV_MERGEABLE) and a full pass of ksmd. Merges equal pages of the range with each other and with pages
    merged before. Returns the number of frames freed.

    Raises OSError EINVAL on a kernel without KSM, ESRCH if the task has exited."""
    if not m.profile.migration_entries:
        raise os_error(errno.EINVAL)
    mm = task.mm
    if mm is None or not task.alive:
        raise os_error(errno.ESRCH)
    yield from m.pagevecs.lru_add_drain_all()
    yield from mm.lock.down_write(m.env)
    try:
        yield from m.step("ksmd", m.costs.copy * len(index))
        before = sum(zone.free for zone in m.frames.zones.values())
        for vma, local in list(mm.spans(start, index)):
            if vma.file is None:
                for page in local.tolist():
                    _merge_page(m, vma, page)
        given_back = sum(zone.free for zone in m.frames.zones.values()) - before
        m.count("ksm_pages_merged", given_back)
        return given_back
    finally:
        mm.lock.up_write()


def _merge_page(m: Machine, vma: Vma, index: int) -> None:
    """cmp_and_merge_page(). Skips a page that is mapped twice or has other references."""
    frames, rmap = m.frames, m.rmap
    frames.repeats = True
    pte = int(vma.pte[index])
    pfn = pte >> PTE_SHIFT
    if not pte & PTE_PRESENT or frames.flags[pfn] & (PG.KSM | PG.LOCKED | PG.WRITEBACK | PG.SWAPCACHE | PG.COMPOUND):
        return
    if frames.mapcount[pfn] != 1 or frames.refcount[pfn] != 1 or not frames.flags[pfn] & PG.LRU:
        return
    at, one = np.array([index], np.int64), np.array([pfn], np.int32)
    value = int(frames.contents[pfn])
    place = (vma.mm, vma.start + index * m.page_size)
    shared = rmap.ksm_frame(frames, value)
    rmap.set_dirty(frames, one)
    if shared < 0:
        vma.pte[index] = pte & ~(PTE_WRITE | PTE_DIRTY)
        frames.mapping[pfn] = rmap.new_ksm(value, pfn, place)
        frames.index[pfn] = 0
        frames.flags[pfn] |= PG.KSM
        return
    frames.put(vma.unmap(frames, at, 0))
    frames.refcount[shared] += 1
    rmap.ksm[int(frames.mapping[shared])].append(place)
    vma.map(frames, at, np.array([shared], np.int32), 0)
