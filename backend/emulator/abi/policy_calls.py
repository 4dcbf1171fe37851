"""set_mempolicy(2), get_mempolicy(2), mbind(2) on the calling task (mm/mempolicy.c)."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.abi.syscalls import get_nodes
from backend.emulator.frames.page import Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.blocks import migrate_blocks, take_apart
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate, permitted, putback
from backend.emulator.mm import mempolicy
from backend.emulator.mm.fault import access
from backend.emulator.mm.huge_pages import nodes_by_policy
from backend.emulator.mm.mempolicy import DEFAULT, Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT, PTE_SHIFT, PTE_ZERO, Indices, Mm, Vma
from backend.emulator.mm.placing import alloc_for
from backend.emulator.mm.vma_split import isolate_range, merge_neighbours
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import Mode, MoveFlag, PolicyFlag
from backend.nodeset import NodeSet

_VALID = int(MoveFlag.STRICT | MoveFlag.MOVE | MoveFlag.MOVE_ALL)


def _caller_task(m: Machine, caller: Caller) -> tuple[Task, Mm]:
    task = m.tasks.get(caller.pid)
    if task is None or task.mm is None:
        raise os_error(errno.ESRCH)
    return task, task.mm


def _policy(mode: int, maxnode: int, mask: bytes, allowed: NodeSet) -> Mempolicy | None:
    nodes = get_nodes(maxnode, mask) if mask else NodeSet()
    try:
        return mempolicy.create(mode, nodes, allowed)
    except ValueError:
        raise os_error(errno.EINVAL) from None


def set_mempolicy(m: Machine, caller: Caller, mode: int, maxnode: int, mask: bytes) -> Events:
    """Set the caller's policy for future allocations. Raises OSError EINVAL, ESRCH."""
    yield from m.step("syscall", m.costs.syscall)
    task, _ = _caller_task(m, caller)
    task.policy = _policy(mode, maxnode, mask, m.cpusets.mems_allowed(task)) or DEFAULT
    for thread in task.threads:
        thread.il_next = 0
    return 0


def get_mempolicy(m: Machine, caller: Caller, maxnode: int, address: int, flags: int) -> Events:
    """Returns (mode with its flags, or a node for NODE; nodes). Raises OSError EINVAL, EFAULT, ESRCH."""
    yield from m.step("syscall", m.costs.syscall)
    task, mm = _caller_task(m, caller)
    if flags & ~int(PolicyFlag.NODE | PolicyFlag.ADDR | PolicyFlag.MEMS_ALLOWED):
        raise os_error(errno.EINVAL)
    if maxnode and maxnode - 1 < max(m.nodes):  # maxnode < nr_node_ids
        raise os_error(errno.EINVAL)
    if flags & PolicyFlag.MEMS_ALLOWED:
        if flags & (PolicyFlag.NODE | PolicyFlag.ADDR):
            raise os_error(errno.EINVAL)
        return 0, m.cpusets.mems_allowed(task)
    policy = task.policy
    if flags & PolicyFlag.ADDR:
        vma = mm.find(address)
        if vma is None:
            raise os_error(errno.EFAULT)
        policy = vma.policy_at((address - vma.start) // m.page_size) or DEFAULT
    elif address:
        raise os_error(errno.EINVAL)
    if flags & PolicyFlag.NODE:
        return (yield from _node(m, task, policy, address, bool(flags & PolicyFlag.ADDR))), NodeSet()
    return policy.mode | policy.flags, policy.asked or policy.nodes


def _node(m: Machine, task: Task, policy: Mempolicy, address: int, by_address: bool) -> Events:
    """`by_address`: the node of the page at `address`, which is faulted in (lookup_node()). Else the node of the next
    interleaved page. Raises OSError EINVAL, EFAULT."""
    if not by_address:
        if policy.mode != Mode.INTERLEAVE:
            raise os_error(errno.EINVAL)
        return policy.nodes.nth(task.leader.il_next % len(policy.nodes))
    yield from access(m, task, task.leader, address, write=False)
    vma = task.mm.find(address) if task.mm else None
    if vma is None:
        raise os_error(errno.EFAULT)
    pte = int(vma.pte[(address - vma.start) // m.page_size])
    # The zero page is part of the kernel image, which is on the first node.
    return m.first_node if pte & PTE_ZERO else int(m.frames.nid[pte >> PTE_SHIFT])


def mbind(
    m: Machine, caller: Caller, start: int, length: int, mode: int, maxnode: int, mask: bytes, flags: int
) -> Events:
    """Set the policy of a range. With MOVE or MOVE_ALL, misplaced pages move as the new policy says.

    Raises OSError EINVAL, EPERM, EFAULT, ESRCH, EIO (STRICT: misplaced pages that did not move). mmap_sem is held for
    writing, so that no fault sees partly split VMAs.
    """
    yield from m.step("syscall", m.costs.syscall)
    task, mm = _caller_task(m, caller)
    if flags & ~_VALID:
        raise os_error(errno.EINVAL)
    if flags & MoveFlag.MOVE_ALL and not caller.can(m.profile.rights.mbind_move_all):
        raise os_error(errno.EPERM)
    if start % m.page_size:
        raise os_error(errno.EINVAL)
    policy = _policy(mode, maxnode, mask, m.cpusets.mems_allowed(task))
    if policy is None:  # do_mbind(): MPOL_DEFAULT ignores MPOL_MF_STRICT.
        flags &= ~int(MoveFlag.STRICT)
    end = start + -(-length // m.page_size) * m.page_size
    if end == start:
        return 0
    yield from mm.lock.down_write(m.env)
    try:
        vmas = isolate_range(m, mm, start, end)
        if vmas is None:
            raise os_error(errno.EFAULT)
        # STRICT alone only checks: queue_pages_range() fails before any policy is set.
        if flags & _VALID == MoveFlag.STRICT and any(len(_misplaced(m, task, vma, policy)) for vma in vmas):
            raise os_error(errno.EIO)
        for vma in vmas:
            _set_policy(vma, policy)
        misplaced = 0
        if flags & (MoveFlag.MOVE | MoveFlag.MOVE_ALL):
            for vma in vmas:
                misplaced += yield from _conform(m, task, vma, bool(flags & MoveFlag.MOVE_ALL))
        if misplaced and flags & MoveFlag.STRICT:
            raise os_error(errno.EIO)
        return 0
    finally:
        merge_neighbours(m, mm)
        mm.lock.up_write()


def _set_policy(vma: Vma, policy: Mempolicy | None) -> None:
    """vma_replace_policy(). Shared memory also stores the policy in the object, for all processes that map it
    (shmem_set_policy())."""
    vma.policy = policy
    if vma.file is not None and vma.shared and vma.file.swap_backed:
        vma.file.set_policy(vma.pgoff, vma.pages, policy)


def _misplaced(m: Machine, task: Task, vma: Vma, policy: Mempolicy | None) -> Indices:
    """Indices of resident pages of a VMA that are not on a node of the policy (queue_pages_required())."""
    resident = np.nonzero((vma.pte & PTE_PRESENT) != 0)[0]
    nodes = _conforming(m, task, policy)
    if nodes is None:
        return resident[:0]
    where = m.frames.nid[vma.pfns(resident)]
    return resident[~np.isin(where, list(nodes))]


def _conforming(m: Machine, task: Task, policy: Mempolicy | None) -> NodeSet | None:
    """The nodes that satisfy a policy; None for all."""
    if policy is None or policy.mode == Mode.DEFAULT:
        return None
    if policy.mode == Mode.LOCAL:
        return NodeSet([m.nearest_memory(m.node_of_cpu[task.leader.cpu])])
    return policy.nodes


def _conform(m: Machine, task: Task, vma: Vma, move_all: bool) -> Events:
    """Move the misplaced pages of a VMA. Returns the number of pages that stayed and that STRICT reports."""
    if not vma.migratable(m.profile.migration_entries):
        return len(_misplaced(m, task, vma, vma.policy))
    yield from m.pagevecs.lru_add_drain_all()
    index = _misplaced(m, task, vma, vma.policy)
    before = vma.pfns(index)
    taken = isolate(m, before, None, move_all)
    stuck = int(np.count_nonzero(permitted(m, before, move_all) & ~np.isin(before, taken)))
    yield from m.step("isolate", m.costs.isolate * len(taken))
    taken, huge = take_apart(m, taken)
    failed = 0
    if len(huge):
        try:
            failed, small = yield from migrate_blocks(m, huge, lambda block: _nodes_for(m, task, vma, block))
        except OSError:
            putback(m, taken)
            return len(huge) + len(taken)
        taken = np.concatenate([taken, small])
    index = (m.frames.index[taken] - vma.pgoff).astype(np.int64)
    targets = alloc_for(m, task, task.leader, vma, index)
    lists = MigrationLists(taken[: len(targets)], targets)
    failed += yield from migrate_pages(m, lists)
    put_all_back(m, lists)
    beyond: Pfns = taken[len(targets) :]
    putback(m, beyond)
    return failed + len(beyond) + stuck


def _nodes_for(m: Machine, task: Task, vma: Vma, block: Pfns) -> list[int]:
    """The nodes by policy for a huge page that starts in this VMA or in the one before it."""
    return nodes_by_policy(m, task, task.leader, vma, int(m.frames.index[block[0]]) - vma.pgoff)
