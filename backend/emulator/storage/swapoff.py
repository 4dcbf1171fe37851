"""swapoff(2): read all swapped pages back into memory, then close the area (mm/swapfile.c try_to_unuse(),
unuse_mm())."""

from __future__ import annotations

import errno
from functools import partial

import numpy as np

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_SHIFT, PTE_SWAP, Mm, Vma
from backend.emulator.mm.mmap import mmput
from backend.emulator.mm.placing import alloc_by_policy
from backend.emulator.storage.page_cache import lock_page, unlock_put
from backend.emulator.storage.swap_io import drop_unused, left_swap_cache, map_swapped, read_page
from backend.emulator.tasks.task import Task
from backend.errors import os_error


def swapoff(m: Machine) -> Events:
    """swapoff(2). Returns 0. Raises OSError EINVAL without swap, ENOMEM if memory is too small for the swapped pages;
    the area then stays in use."""
    if not m.swap.total:
        raise os_error(errno.EINVAL)
    m.swap.closed = True
    try:
        while m.swap.used:
            owners = {id(task.mm): task for task in m.tasks.values() if task.mm is not None}
            for task in owners.values():
                if task.mm is not None:
                    yield from _unuse_mm(m, task, task.mm)
            for space in list(m.rmap.spaces.values()):
                for index in np.nonzero(space.swapped >= 0)[0].tolist():
                    policy = space.policy(index)
                    allocate = partial(_frame, m, None, policy, index)
                    pfn = yield from lock_page(m, space, index, allocate, cpu=_cpu(m))
                    if pfn >= 0:
                        unlock_put(m, pfn)
            yield from _empty_cache(m)
    except OSError:
        m.swap.closed = False
        raise
    return 0


def _unuse_mm(m: Machine, task: Task, mm: Mm) -> Events:
    mm.users += 1
    yield from mm.lock.down_read(m.env)
    try:
        for vma in list(mm.vmas):
            for index in np.nonzero(vma.pte & PTE_SWAP)[0].tolist():
                while vma.pte[index] & PTE_SWAP and not vma.unmapped:
                    yield from _unuse_pte(m, task, vma, index)
    finally:
        mm.lock.up_read()
        mmput(m, mm)


def _unuse_pte(m: Machine, task: Task, vma: Vma, index: int) -> Events:
    """One step towards a present PTE: read the page into the swap cache, or map it from there. The page is checked
    again after its lock is taken, as in a fault (patch 1)."""
    pte = int(vma.pte[index])
    entry = pte >> PTE_SHIFT
    pfn = int(m.swap.cache[entry])
    if pfn < 0:
        new: Pfns = yield from _frame(m, task, vma.policy_at(index), vma.pgoff + index)
        if not len(new):
            raise os_error(errno.ENOMEM)
        if vma.pte[index] != pte or m.swap.cache[entry] >= 0:
            m.frames.put(new)
            return
        yield from read_page(m, entry, int(new[0]), _cpu(m))
        return
    m.locks.get_page(pfn)
    yield from m.locks.lock(pfn)
    yield from m.locks.wait_on_writeback(pfn)
    if left_swap_cache(m, pfn) or vma.pte[index] != pte or vma.unmapped:
        unlock_put(m, pfn)
        return
    map_swapped(m, vma, index, pfn, 0)
    one = np.array([pfn], np.int32)
    # The swap cache is the last user. The page must be dirty, because its copy on the device is given up.
    if m.swap.swap_map[entry] == 1:
        m.rmap.set_dirty(m.frames, one)
        m.swap.delete_from_cache(m.frames, one)
    m.locks.unlock(one)


def _empty_cache(m: Machine) -> Events:
    """Remove pages without swap PTEs from the swap cache: mapped pages stay in memory, unused pages are freed."""
    for pfn in m.swap.cache[m.swap.cache >= 0].tolist():
        if not m.frames.flags[pfn] & PG.SWAPCACHE:
            continue
        m.locks.get_page(pfn)
        yield from m.locks.lock(pfn)
        yield from m.locks.wait_on_writeback(pfn)
        one = np.array([pfn], np.int32)
        if m.frames.flags[pfn] & PG.SWAPCACHE and m.swap.swap_map[m.frames.private[pfn]] == 1:
            m.rmap.set_dirty(m.frames, one)
            m.swap.delete_from_cache(m.frames, one)
        unlock_put(m, pfn)
        drop_unused(m, one)
    yield from m.step("swapoff", m.costs.syscall)


def _cpu(m: Machine) -> int:
    """The CPU that swapoff(8) runs on: the first."""
    return next(iter(m.node_of_cpu))


def _frame(m: Machine, task: Task | None, policy: Mempolicy | None, offset: int) -> Events:
    """A frame for a swapped page, by the policy of the page or else of the task, and the task's cpuset. Files have no
    task: pid 1 takes its place, or without pid 1 the first node with memory. Empty if no frame is free."""
    yield from m.step("swapoff", m.costs.lock)
    owner = task or m.tasks.get(1)
    if owner is None:
        node = m.nearest_memory(m.first_node)
        return m.frames.alloc(1, node, here=node)
    here = m.node_of_cpu[owner.leader.cpu]
    offsets = np.array([offset], np.int64)
    new = alloc_by_policy(m, owner, owner.leader, policy or owner.policy, offsets, here, by_offset=True)
    if owner.mm is not None:
        m.frames.cgroup[new] = owner.mm.cgroup
    return new
