"""Allocating a new page by policy, with reclaim when no frame is free (mm/mempolicy.c alloc_pages_vma(),
mm/page_alloc.c)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_DIRTY, PTE_PRESENT, PTE_WRITE, PTE_YOUNG, VM, Indices, Vma
from backend.emulator.mm.vma_merge import anon_vma_prepare
from backend.emulator.tasks.task import Task, Thread
from backend.kernel import Mode


class SegmentationFault(Exception):
    """An access outside every VMA, or a write to a read-only VMA (SIGSEGV)."""


class OutOfMemory(Exception):
    """No frame is free on any node that the policy allows; the task was killed."""


def nodes_allowed(m: Machine, task: Task, policy: Mempolicy) -> frozenset[int]:
    """Nodes that the policy and the task's cpuset allow for a new page."""
    return m.cpusets.nodemask(task, policy) or frozenset(m.memory_nodes)


def room_for(m: Machine, task: Task, policy: Mempolicy, count: int) -> Events:
    """Reclaim if the allowed nodes have fewer than `count` frames free. May sleep: callers check the PTE again. Raises
    OutOfMemory if the OOM killer chose this task."""
    nodes = nodes_allowed(m, task, policy)
    if m.reclaim.short_of(count, nodes):
        yield from m.reclaim.make_room(task, count, nodes)
        if task.exited == "out of memory":
            raise OutOfMemory(f"{task.pid}: killed, out of memory")


def alloc_for(m: Machine, task: Task, thread: Thread, vma: Vma, index: Indices) -> Pfns:
    """Allocate frames for pages of a VMA, in the order of `index`, by the VMA's or else the task's policy. All pages
    get the policy of the first. Returns fewer frames than pages if memory runs out."""
    own = vma.policy_at(int(index[0])) if len(index) else None
    here = m.node_of_cpu.get(thread.cpu, m.first_node)
    return alloc_by_policy(m, task, thread, own or task.policy, vma.pgoff + index, here, by_offset=True)


def alloc_by_policy(
    m: Machine,
    task: Task,
    thread: Thread,
    policy: Mempolicy,
    offsets: NDArray[np.int64],
    here: int,
    by_offset: bool,
) -> Pfns:
    """Allocate frames for page offsets, in their order. `by_offset`: the pages are of a VMA or of shared memory, where
    interleaving counts offsets, also by a task's policy (interleave_nid()). Else it counts allocations
    (interleave_nodes(), il_next)."""
    near = m.nearest_memory(here)
    nodemask = m.cpusets.nodemask(task, policy)
    if not policy.interleaves:
        return m.frames.alloc(len(offsets), _first(m, policy, near), nodemask=nodemask, here=here)
    if by_offset:
        wanted = policy.interleave_nodes(offsets, m.weights, m.profile.cuts_offsets)
    else:
        wanted = policy.interleave_nodes(thread.il_next + np.arange(len(offsets), dtype=np.int64), m.weights)
        thread.il_next = (thread.il_next + len(offsets)) % len(policy.turns(m.weights))
    return _alloc_each(m, wanted, here, nodemask)


def _first(m: Machine, policy: Mempolicy, near: int) -> int:
    """The node that a non-interleaving policy tries first. `near`: the node with memory nearest to the thread."""
    if policy.mode == Mode.PREFERRED_MANY:
        return min(policy.nodes, key=lambda node: (m.distance(near, node), node))
    return policy.preferred(near)


def preferred_node(m: Machine, task: Task, thread: Thread, vma: Vma, index: int) -> tuple[int, frozenset[int] | None]:
    """For a huge page: (node tried first, nodes allowed or None for all). Interleaving counts in huge pages."""
    own = vma.policy_at(index)
    policy = own or task.policy
    near = m.nearest_memory(m.node_of_cpu.get(thread.cpu, m.first_node))
    node = _first(m, policy, near)
    if policy.interleaves:
        huge = np.array([(vma.pgoff + index) // m.frames.huge])
        node = int(policy.interleave_nodes(huge, m.weights, m.profile.cuts_offsets)[0])
    return node, m.cpusets.nodemask(task, policy)


def _alloc_each(m: Machine, wanted: NDArray[np.int64], here: int, nodemask: frozenset[int] | None) -> Pfns:
    pfns = np.full(len(wanted), -1, np.int32)
    for node in np.unique(wanted).tolist():
        at = np.nonzero(wanted == node)[0]
        got = m.frames.alloc(len(at), node, nodemask=nodemask, here=here)
        pfns[at[: len(got)]] = got
        m.frames.zones[node].numastat["interleave_hit"] += int(np.count_nonzero(m.frames.nid[got] == node))
    # A short result ends at the first page without a frame; frames for later pages are given back.
    short = np.nonzero(pfns < 0)[0]
    if len(short):
        surplus = pfns[short[0] :]
        m.frames.put(surplus[surplus >= 0])
        return pfns[: short[0]]
    return pfns


def enter_anonymous(m: Machine, vma: Vma, index: Indices, pfns: Pfns, cpu: int | None = None) -> None:
    """Set the mapping of new anonymous pages (page_add_new_anon_rmap()) and add them to the LRU through the pagevec of
    `cpu`. `cpu` None: add to the LRU at once, as for huge pages."""
    frames = m.frames
    if not vma.own_anon:
        anon_vma_prepare(m, vma)
    frames.mapping[pfns] = vma.anon_vma
    frames.index[pfns] = vma.pgoff + index
    frames.cgroup[pfns] = vma.mm.cgroup
    frames.flags[pfns] |= PG.UPTODATE | PG.SWAPBACKED
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        frames.flags[pfns] |= PG.MLOCKED
    m.pagevecs.lru_cache_add(pfns, m.profile.new_anon_active, cpu)


def map_new(m: Machine, vma: Vma, index: Indices, pfns: Pfns, cpu: int | None = None) -> None:
    """Map newly allocated frames at empty PTEs: writable, dirty, young. `cpu`: see `enter_anonymous`."""
    enter_anonymous(m, vma, index, pfns, cpu)
    vma.map(m.frames, index, pfns, PTE_WRITE | PTE_DIRTY | PTE_YOUNG)


def mark_mlocked(m: Machine, pfns: Pfns, lock: bool) -> None:
    """Set or clear PG_mlocked, and update the counts of all VMAs that map the pages (`nr_active` includes mlocked
    pages)."""
    if lock:
        m.frames.flags[pfns] |= PG.MLOCKED
    else:
        m.frames.flags[pfns] &= ~np.uint32(PG.MLOCKED)
    for sharer, _, _ in m.rmap.walk(m.frames, pfns):
        sharer.recount(m.frames)


def locked_elsewhere(m: Machine, pfns: Pfns) -> NDArray[np.bool_]:
    """True for each page that a locked VMA maps."""
    out = np.zeros(len(pfns), np.bool_)
    for vma, at, _, _ in m.rmap.ptes(m.frames, pfns, PTE_PRESENT, pfns):
        if vma.flags & VM.LOCKED:
            out[at] = True
    return out
