"""set_mempolicy(2) and get_mempolicy(2) on the calling task (mm/mempolicy.c)."""

from __future__ import annotations

import errno

from backend.emulator.abi.syscalls import get_nodes
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm import mempolicy
from backend.emulator.mm.fault import access
from backend.emulator.mm.mempolicy import DEFAULT, Mempolicy
from backend.emulator.mm.mm import PTE_SHIFT, PTE_ZERO, Mm
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import PolicyFlag
from backend.nodeset import NodeSet


def caller_task(m: Machine, caller: Caller) -> tuple[Task, Mm]:
    task = m.tasks.get(caller.pid)
    if task is None or task.mm is None:
        raise os_error(errno.ESRCH)
    return task, task.mm


def policy_of(m: Machine, mode: int, maxnode: int, mask: bytes, allowed: NodeSet) -> Mempolicy | None:
    nodes = get_nodes(maxnode, mask) if mask else NodeSet()
    try:
        return mempolicy.create(mode, nodes, allowed, weighted=m.profile.weighted_interleave)
    except ValueError:
        raise os_error(errno.EINVAL) from None


def set_mempolicy(m: Machine, caller: Caller, mode: int, maxnode: int, mask: bytes) -> Events:
    """Set the caller's policy for future allocations. Raises OSError EINVAL, ESRCH."""
    yield from m.step("syscall", m.costs.syscall)
    task, _ = caller_task(m, caller)
    task.policy = policy_of(m, mode, maxnode, mask, m.cpusets.mems_allowed(task)) or DEFAULT
    for thread in task.threads:
        thread.il_next = 0
    return 0


def get_mempolicy(m: Machine, caller: Caller, maxnode: int, address: int, flags: int) -> Events:
    """Returns (mode with its flags, or a node for NODE; nodes). Raises OSError EINVAL, EFAULT, ESRCH."""
    yield from m.step("syscall", m.costs.syscall)
    task, mm = caller_task(m, caller)
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
    nodes = policy.asked or policy.nodes
    if flags & PolicyFlag.NODE:
        return (yield from _node(m, task, policy, address, bool(flags & PolicyFlag.ADDR))), nodes
    return policy.mode | policy.flags, nodes


def _node(m: Machine, task: Task, policy: Mempolicy, address: int, by_address: bool) -> Events:
    """`by_address`: the node of the page at `address`, which is faulted in (lookup_node()). Else the node of the next
    interleaved page. Raises OSError EINVAL, EFAULT."""
    if not by_address:
        if not policy.interleaves:
            raise os_error(errno.EINVAL)
        turns = policy.turns(m.weights)
        return int(turns[task.leader.il_next % len(turns)])
    yield from access(m, task, task.leader, address, write=False)
    vma = task.mm.find(address) if task.mm else None
    if vma is None:
        raise os_error(errno.EFAULT)
    pte = int(vma.pte[(address - vma.start) // m.page_size])
    # The zero page is part of the kernel image, which is on the first node.
    return m.first_node if pte & PTE_ZERO else int(m.frames.nid[pte >> PTE_SHIFT])
