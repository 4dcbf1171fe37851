"""mbind(2) on the calling task (mm/mempolicy.c do_mbind())."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.abi.policy_calls import caller_task, policy_of
from backend.emulator.abi.syscalls import get_nodes
from backend.emulator.frames.page import Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.blocks import migrate_blocks, take_apart
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import putback
from backend.emulator.migration.queue_pages import Queue, queue_pages_range
from backend.emulator.migration.swap_out import swap_out
from backend.emulator.mm.huge_pages import nodes_by_policy
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import Indices, Mm, Vma
from backend.emulator.mm.placing import alloc_for
from backend.emulator.mm.vma_merge import change_range
from backend.emulator.mm.vma_split import overlapping
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import MoveFlag
from backend.nodeset import NodeSet

_VALID = int(MoveFlag.STRICT | MoveFlag.MOVE | MoveFlag.MOVE_ALL)


def mbind(
    m: Machine, caller: Caller, start: int, length: int, mode: int, maxnode: int, mask: bytes, flags: int
) -> Events:
    """Set the policy of a range. With MOVE or MOVE_ALL, pages on other nodes than the mask names move as the new
    policy says; where the mask is empty, all pages do.

    Raises OSError EINVAL, EPERM, EFAULT, ESRCH, EIO (STRICT: such pages that did not move). mmap_sem is held for
    writing, so that no fault sees partly split VMAs.
    """
    yield from m.step("syscall", m.costs.syscall)
    task, mm = caller_task(m, caller)
    if flags & ~_VALID:
        raise os_error(errno.EINVAL)
    if flags & MoveFlag.MOVE_ALL and not caller.can(m.profile.rights.mbind_move_all):
        raise os_error(errno.EPERM)
    if start % m.page_size:
        raise os_error(errno.EINVAL)
    policy = policy_of(m, mode, maxnode, mask, m.cpusets.mems_allowed(task))
    if policy is None:  # do_mbind(): MPOL_DEFAULT ignores MPOL_MF_STRICT.
        flags &= ~int(MoveFlag.STRICT)
    end = start + -(-length // m.page_size) * m.page_size
    if end == start:
        return 0
    yield from mm.lock.down_write(m.env)
    try:
        if flags & (MoveFlag.MOVE | MoveFlag.MOVE_ALL):
            yield from m.pagevecs.lru_add_drain_all()
        nodes = get_nodes(maxnode, mask) if mask else NodeSet()
        queue = queue_pages_range(m, mm, start, end, nodes, flags, holes=policy is None)
        _mbind_range(m, mm, start, end, policy, queue)
        yield from m.step("isolate", m.costs.isolate * len(queue.pages))
        failed = yield from _migrate(m, task, mm, start, queue)
        if queue.unmovable or (failed and flags & MoveFlag.STRICT):
            raise os_error(errno.EIO)
        return 0
    finally:
        mm.lock.up_write()


def _mbind_range(m: Machine, mm: Mm, start: int, end: int, policy: Mempolicy | None, queue: Queue) -> None:
    try:
        changed = change_range(m, mm, start, end, lambda vma: (vma.flags, policy), merge=m.profile.mbind_merges)
    except OSError:
        putback(m, queue.pages)
        raise
    for vma in changed:
        _set_policy(vma, policy)


def _set_policy(vma: Vma, policy: Mempolicy | None) -> None:
    """vma_replace_policy(): shared memory also stores the policy in the object, for all processes that map it
    (shmem_set_policy())."""
    if vma.file is not None and vma.file.swap_backed:
        vma.file.set_policy(vma.pgoff, vma.pages, policy)


def _migrate(m: Machine, task: Task, mm: Mm, start: int, queue: Queue) -> Events:
    """Move the queued pages to where the policy at their addresses puts them, or out to swap. Returns the number of
    pages that stayed."""
    if m.swaps_out:
        return (yield from swap_out(m, queue.pages))
    pages, huge = take_apart(m, queue.pages)
    failed = 0
    if len(huge):
        try:
            failed, small = yield from migrate_blocks(
                m, huge, lambda block: _nodes_for(m, task, mm, start, queue.address_of(int(block[0])))
            )
        except OSError:
            putback(m, pages)
            return len(huge) + len(pages)
        pages = np.concatenate([pages, small])
    addresses = np.array([queue.address_of(pfn) for pfn in pages.tolist()], np.int64)
    for vma in mm.vmas:
        mine = (addresses >= vma.start) & (addresses < vma.end)
        if mine.any():
            failed += yield from _migrate_in(m, task, vma, pages[mine], (addresses[mine] - vma.start) // m.page_size)
    return failed


def _migrate_in(m: Machine, task: Task, vma: Vma, pages: Pfns, index: Indices) -> Events:
    targets = alloc_for(m, task, task.leader, vma, index)
    lists = MigrationLists(pages[: len(targets)], targets, paired=m.profile.migration_entries)
    failed = yield from migrate_pages(m, lists)
    put_all_back(m, lists)
    beyond: Pfns = pages[len(targets) :]
    putback(m, beyond)
    return failed + len(beyond)


def _nodes_for(m: Machine, task: Task, mm: Mm, start: int, address: int) -> list[int]:
    """The nodes by policy for a huge page at `address`: of the first VMA from `start` on that maps a part of it, which
    may not be the one with its first page (new_page(), page_address_in_vma())."""
    vma = overlapping(mm, max(start, address), address + m.frames.huge * m.page_size)[0]
    return nodes_by_policy(m, task, task.leader, vma, (max(vma.start, address) - vma.start) // m.page_size)
