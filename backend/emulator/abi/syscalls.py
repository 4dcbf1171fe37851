"""migrate_pages(2) and move_pages(2). Arguments are checked in the kernel's order; errno as measured or documented."""

from __future__ import annotations

import errno
from array import array

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.frames import head_of
from backend.emulator.frames.page import PG
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate, permitted, takeable
from backend.emulator.migration.nodes import do_migrate_pages, migrate_isolated
from backend.emulator.mm.mm import PTE_MIGRATION, PTE_PRESENT, PTE_PROTNONE, PTE_SHIFT, PTE_SWAP, VM, Mm
from backend.emulator.mm.mmap import mmput
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.permissions import may_access, may_name, mems_of_caller
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import MoveFlag, Numbers
from backend.nodeset import NodeSet

MAX_NUMNODES = 1024
_MASK_BITS = 4096 * 8  # get_nodes(): a node mask has at most PAGE_SIZE * BITS_PER_BYTE bits.


def get_nodes(maxnode: int, mask: bytes) -> NodeSet:
    """A node mask from user space (get_nodes()). `maxnode`: number of bits plus one. Raises OSError EINVAL if the mask
    is too long or names a node beyond MAX_NUMNODES."""
    bits = maxnode - 1
    if bits < 0 or bits > _MASK_BITS:  # In the kernel a maxnode of 0 wraps around to ULONG_MAX.
        raise os_error(errno.EINVAL)
    if bits == 0 or not mask:
        return NodeSet()
    nodes = NodeSet.from_mask(mask[: -(-bits // 64) * 8])
    if any(node >= MAX_NUMNODES for node in nodes if node < bits):
        raise os_error(errno.EINVAL)
    return NodeSet(node for node in nodes if node < bits)


def find_task(m: Machine, pid: int, caller: Caller) -> Task:
    """The task of a pid that the caller may access; 0 means the caller. Raises OSError ESRCH, EPERM."""
    task = m.tasks.get(pid or caller.pid)
    if task is None:
        raise os_error(errno.ESRCH)
    if not may_access(m, task, caller):
        raise os_error(errno.EPERM)
    return task


def migrate_pages(m: Machine, caller: Caller, pid: int, maxnode: int, old: bytes, new: bytes) -> Events:
    """migrate_pages(2). Returns the number of pages not moved. Raises OSError EINVAL, ESRCH, EPERM, ENOMEM."""
    yield from m.step("syscall", m.costs.syscall)
    sources, targets = get_nodes(maxnode, old), get_nodes(maxnode, new)
    task = find_task(m, pid, caller)
    if not may_name(m, task, caller, targets):
        raise os_error(errno.EPERM)
    rights, allowed = m.profile.rights, mems_of_caller(m, caller)
    targets &= allowed if rights.cut_to_caller else m.memory_nodes
    if not targets:
        raise os_error(errno.EINVAL)
    if task.mm is None:
        raise os_error(errno.EINVAL)
    mm = task.mm
    mm.users += 1
    try:
        result: int = yield from do_migrate_pages(
            m,
            mm,
            sources,
            targets,
            caller.can(rights.move_all),
            allowed=frozenset(allowed),
            here=_node_of(m, caller),
        )
    finally:
        mmput(m, mm)
    if result < 0:
        raise os_error(-result)
    return result


def _node_of(m: Machine, caller: Caller) -> int:
    """The local node of the caller, or the nearest node with memory."""
    task = m.tasks.get(caller.pid)
    return m.nearest_memory(m.node_of_cpu[task.leader.cpu] if task is not None else m.first_node)


def move_pages(
    m: Machine,
    caller: Caller,
    pid: int,
    pages: Numbers,
    nodes: Numbers | None,
    status: Numbers,
    flags: int,
) -> Events:
    """move_pages(2) of linux-6. Returns the number of pages not moved. Fills `status` as the kernel does: the entry of
    a page not moved stays unchanged. Raises OSError ENOSYS, EINVAL, EPERM, ESRCH, EACCES, ENODEV, ENOMEM."""
    if not m.profile.has_move_pages:
        raise os_error(errno.ENOSYS)
    yield from m.step("syscall", m.costs.syscall)
    if flags & ~int(MoveFlag.MOVE | MoveFlag.MOVE_ALL):
        raise os_error(errno.EINVAL)
    if flags & MoveFlag.MOVE_ALL and not caller.can(m.profile.rights.move_all):
        raise os_error(errno.EPERM)
    task = find_task(m, pid, caller)
    if task.mm is None:
        raise os_error(errno.EINVAL)
    mm = task.mm
    addresses = np.array(pages, dtype=np.uint64)
    mm.users += 1
    try:
        if nodes is None:
            status[:] = array("i", _where(m, mm, addresses).astype(np.int32).tobytes())
            yield from m.step("query", m.costs.query * len(addresses))
            return 0
        mems = m.cpusets.mems_allowed(task)
        return (
            yield from _do_pages_move(
                m,
                mm,
                addresses,
                nodes,
                status,
                bool(flags & MoveFlag.MOVE_ALL),
                mems,
                mems_of_caller(m, caller),
            )
        )
    finally:
        mmput(m, mm)


def _lookup(m: Machine, mm: Mm, addresses: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(PTE, frame) of each address. The PTE is -1 if no VMA covers the address. The frame is -1 unless the PTE is
    present and has none of the bits of `_hiding`."""
    ptes = np.full(len(addresses), -1, np.int64)
    if mm.vmas:
        starts = np.array([vma.start for vma in mm.vmas], np.uint64)
        which: NDArray[np.int64] = np.searchsorted(starts, addresses, side="right") - 1
        for number, vma in enumerate(mm.vmas):
            at = np.nonzero((which == number) & (addresses < np.uint64(vma.end)))[0]
            if not len(at):
                continue
            index = (addresses[at] - np.uint64(vma.start)) // np.uint64(m.page_size)
            ptes[at] = vma.pte[index.astype(np.int64)]
    present = (ptes > 0) & ((ptes & (PTE_PRESENT | _hiding(m))) == PTE_PRESENT)
    return ptes, np.where(present, ptes >> PTE_SHIFT, -1).astype(np.int32)


def _hiding(m: Machine) -> int:
    """The PTE bits that keep a page from move_pages: follow_page() does not see pages that wait for a NUMA hinting
    fault, folio_walk_start() does."""
    return 0 if m.profile.folio_walk else PTE_PROTNONE


def _faulting(mm: Mm, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """True for addresses in a VMA that has a fault handler of its own, which anonymous ones have not
    (no_page_table())."""
    out = np.zeros(len(addresses), np.bool_)
    for vma in mm.vmas:
        if vma.file is not None or vma.flags & VM.HUGETLB:
            out |= (addresses >= np.uint64(vma.start)) & (addresses < np.uint64(vma.end))
    return out


def _where(m: Machine, mm: Mm, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The status of each page, as do_pages_stat(): its node, -ENOENT (in swap, under migration, waiting for a NUMA
    hinting fault, or a page of a file or of a pool that is not mapped yet; since 6.12 any page that is not there), or
    -EFAULT (the zero page, no mapping, before 6.12 anonymous and never touched)."""
    ptes, pfns = _lookup(m, mm, addresses)
    where = np.full(len(addresses), -errno.EFAULT, np.int64)
    where[(ptes == 0) & (m.profile.folio_walk | _faulting(mm, addresses))] = -errno.ENOENT
    away = (ptes > 0) & ((ptes & (PTE_SWAP | PTE_MIGRATION | _hiding(m))) != 0)
    where[away] = -errno.ENOENT
    here = pfns >= 0
    where[here] = m.frames.nid[pfns[here]]
    return where


def _do_pages_move(
    m: Machine, mm: Mm, addresses: NDArray[np.uint64], nodes: Numbers, status: Numbers, move_all: bool,
    mems: NodeSet, allowed: NodeSet,
) -> Events:  # fmt: skip
    """do_pages_move(): queue consecutive pages for the same node and move them together. A page that cannot be queued
    gets its status and flushes the queue. If pages of a queue do not move, the call ends and returns their number plus
    the number of pages not tried. `mems`: permitted target nodes. `allowed`: nodes of the caller's cpuset, from which
    frames come. Raises OSError EACCES (target outside `mems`), ENODEV (no such node), ENOMEM."""
    yield from m.pagevecs.lru_add_drain_all()
    targets = np.array(nodes, np.int64)
    # The target of a page is checked when its turn comes: the pages before a bad target move.
    inside = np.isin(targets, np.array(list(mems), np.int64))
    valid = len(targets) if inside.all() else int(np.argmin(inside))
    start = 0
    while start < valid:
        target = int(targets[start])
        same = targets[start:valid] == target
        end = start + (len(same) if same.all() else int(np.argmin(same)))
        left = yield from _move_run(m, mm, addresses, status, start, end, target, move_all, frozenset(allowed))
        if left < 0:
            raise os_error(-left)
        if left:
            return left + len(targets) - end
        start = end
    if valid < len(targets):
        raise os_error(errno.EACCES if int(targets[valid]) in m.memory_nodes else errno.ENODEV)
    return 0


def _move_run(
    m: Machine,
    mm: Mm,
    addresses: NDArray[np.uint64],
    status: Numbers,
    start: int,
    end: int,
    target: int,
    move_all: bool,
    allowed: frozenset[int],
) -> Events:
    """Move pages `start` to `end`, which have the same target. Returns the number of pages of the run not moved or not
    tried (move_pages_and_store_status()), or a negative errno."""
    position = start
    while position < end:
        queued, code, pfns = _queueable(m, mm, addresses[position:end], target, move_all)
        length = len(queued) if queued.all() else int(np.argmin(queued))
        # The entry that ends the queue was decided before the queue moves, the next one after that.
        stops = position + length < end
        others = length + 1
        if not length:
            others = int(np.argmax(queued)) if queued.any() else len(queued)
        if stops:
            words = code[length:others].astype(np.int32)
            status[position + length : position + others] = array("i", words.tobytes())
        if length:
            taken = isolate(m, pfns[:length], None, move_all=True)
            yield from m.step("isolate", m.costs.isolate * length)
            failed: int = yield from migrate_isolated(m, taken, target, allowed)
            if failed:
                return failed if failed < 0 else failed + end - position - length - stops
            status[position : position + length] = array("i", [target]) * length
        position += others if stops else length
    return 0


def _queueable(
    m: Machine, mm: Mm, addresses: NDArray[np.uint64], target: int, move_all: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int32]]:
    """add_page_for_migration() for a batch: (queued, status, frame) of each page. Status of a page not queued: its node
    if that is the target, -EACCES (other processes map it too, or a tail page of hugetlb), -EBUSY (not on the LRU, or
    named before; a huge page is named by each of its pages), or the error from `_where`."""
    frames = m.frames
    code = _where(m, mm, addresses)
    _, pfns = _lookup(m, mm, addresses)
    at = np.nonzero((pfns >= 0) & (code != target))[0]
    mine = pfns[at]
    units = mine
    if frames.compounds:
        units = np.where(frames.flags[mine] & PG.COMPOUND, head_of(frames, mine), mine)
    shared = ~permitted(m, mine, move_all)
    if frames.compounds:  # Of a hugetlb page only its head can be queued.
        shared |= ((frames.flags[mine] & PG.HUGETLB) != 0) & (units != mine)
    first = np.zeros(len(mine), np.bool_)
    first[np.nonzero(~shared)[0][np.unique(units[~shared], return_index=True)[1]]] = True
    busy = ~shared & ~(first & takeable(m, mine, move_all=True))
    code[at[shared]] = -errno.EACCES
    code[at[busy]] = -errno.EBUSY
    queued = np.zeros(len(addresses), np.bool_)
    queued[at[~shared & ~busy]] = True
    return queued, code, pfns
