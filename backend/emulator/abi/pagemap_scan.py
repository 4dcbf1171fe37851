"""The ioctl PAGEMAP_SCAN (fs/proc/task_mmu.c do_pagemap_scan()) for pages that are present or swapped."""

from __future__ import annotations

import errno
from itertools import pairwise

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_MIGRATION, PTE_SWAP
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.permissions import may_access
from backend.errors import os_error

_PRESENT, _SWAPPED = 1 << 3, 1 << 4
"""PAGE_IS_PRESENT, PAGE_IS_SWAPPED (include/uapi/linux/fs.h)."""


def scan(m: Machine, caller: Caller, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
    """See `Kernel.pagemap_scan`. Raises OSError ENOTTY before 6.7, ENOENT, EACCES, EINVAL."""
    if not m.profile.pagemap_scan:
        raise os_error(errno.ENOTTY)
    task = m.tasks.get(pid)
    if task is None:
        raise os_error(errno.ENOENT)
    if not may_access(m, task, caller):
        raise os_error(errno.EACCES)
    if start % m.page_size or end < start or count < 1:
        raise os_error(errno.EINVAL)
    records: list[tuple[int, int, int]] = []
    for vma in task.mm.vmas if task.mm else ():
        low, high = max(start, vma.start), min(end, vma.end)
        if low >= high:
            continue
        pte = vma.pte[(low - vma.start) // m.page_size : -(-(high - vma.start) // m.page_size)]
        kind = np.where(pte & (PTE_SWAP | PTE_MIGRATION), _SWAPPED, np.where(pte, _PRESENT, 0))
        edges = [0, *(np.nonzero(np.diff(kind))[0] + 1).tolist(), len(kind)]
        for first, last in pairwise(edges):
            if first == last or not kind[first]:
                continue
            if len(records) == count:
                return low + first * m.page_size, _packed(records)
            records.append((low + first * m.page_size, low + last * m.page_size, int(kind[first])))
    return end, _packed(records)


def _packed(records: list[tuple[int, int, int]]) -> bytes:
    return np.array(records, np.uint64).tobytes()
