"""fork(): a child with the same memory, copy-on-write (kernel/fork.c dup_mmap(), mm/memory.c copy_page_range())."""

from __future__ import annotations

import errno
from dataclasses import replace

import numpy as np

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_MIGRATION, PTE_PRESENT, PTE_SHIFT, PTE_SWAP, PTE_WRITE, VM, Mm, Vma
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.nodeset import CpuSet


def fork(m: Machine, parent: Task, name: str | bytes = b"") -> Events:
    """Returns the child: a new task with one thread, on the CPU of the parent's leader. Holds mmap_sem for writing.

    Raises OSError ESRCH if the parent has exited or is a kernel thread."""
    mm = parent.mm
    if mm is None or not parent.alive:
        raise os_error(errno.ESRCH)
    yield from mm.lock.down_write(m.env)
    try:
        yield from m.step("fork", m.costs.syscall + m.costs.isolate * mm.rss)
        if not parent.alive:
            raise os_error(errno.ESRCH)
        child = spawn(
            m,
            name or parent.name,
            cpu=parent.leader.cpu,
            uid=parent.uid,
            command=parent.command,
            ppid=parent.pid,
            policy=parent.policy,
            cpuset=parent.cpuset,
            suid=parent.saved_uid,
            caps=parent.own_caps,
        )
        child.cpus_allowed = CpuSet(parent.cpus_allowed)
        assert child.mm is not None
        for vma in mm.vmas:
            _copy_vma(m, vma, child.mm)
    finally:
        mm.lock.up_write()
    return child


def _copy_vma(m: Machine, vma: Vma, mm: Mm) -> None:
    """Copy a VMA. One without anonymous pages is copied without PTEs. Else present pages get one more mapping and
    become read-only in both tasks. Swap entries get one more user. Migration entries are copied; the migration finds
    them through the reverse map."""
    frames = m.frames
    if not vma.own_anon:
        _share(m, vma, mm)
        return
    writable = (vma.pte & (PTE_PRESENT | PTE_MIGRATION)) != 0
    vma.pte[writable] &= ~np.int64(PTE_WRITE)
    # A child does not inherit memory locks: mlock(2), dup_mmap().
    copy = replace(
        vma,
        mm=mm,
        flags=vma.flags & ~VM.LOCKED,
        pte=vma.pte.copy(),
        nr_node=vma.nr_node.copy(),
        expected=None if vma.expected is None else vma.expected.copy(),
        own_anon=m.rmap.new() if vma.own_anon else 0,
        inherited=bool(vma.own_anon),
    )
    present = vma.pte[(vma.pte & PTE_PRESENT) != 0] >> PTE_SHIFT
    if frames.repeats:
        # KSM: one VMA may map a frame several times.
        np.add.at(frames.refcount, present, 1)
        np.add.at(frames.mapcount, present, 1)
        _add_merged_places(m, vma, mm)
    else:
        frames.refcount[present] += 1
        frames.mapcount[present] += 1
    m.swap.duplicate((vma.pte[(vma.pte & PTE_SWAP) != 0] >> PTE_SHIFT).astype(np.int32))
    mm.rss += len(present)
    mm.insert(copy)
    m.rmap.link(copy)


def _share(m: Machine, vma: Vma, mm: Mm) -> None:
    """Copy a VMA without PTEs: the child faults its pages in from the page cache (vma_needs_copy())."""
    copy = replace(
        vma,
        mm=mm,
        flags=vma.flags & ~VM.LOCKED,
        pte=np.zeros_like(vma.pte),
        expected=None if vma.expected is None else np.zeros_like(vma.expected),
        nr_node=np.zeros_like(vma.nr_node),
        nr_anon=0,
        nr_dirty=0,
        nr_active=0,
        nr_swap=0,
    )
    mm.insert(copy)
    m.rmap.link(copy)


def _add_merged_places(m: Machine, vma: Vma, mm: Mm) -> None:
    """Add the child's mappings to the reverse map of the merged pages in this VMA, including pages under migration."""
    for places in m.rmap.ksm.values():
        places += [(mm, at) for owner, at in places if owner is vma.mm and vma.start <= at < vma.end]
