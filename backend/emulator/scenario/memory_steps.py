"""Task and memory steps: access, lock, move and policy of memory; fork, schedule and exit of tasks."""

from __future__ import annotations

import errno
from array import array
from dataclasses import dataclass

import numpy as np

from backend.emulator.abi import policy_calls, syscalls
from backend.emulator.abi.mbind import mbind
from backend.emulator.frames.page_lock import Events
from backend.emulator.mm import fork, ksm, mlock
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT, PTE_WRITE, VM
from backend.emulator.mm.mmap import store_values
from backend.emulator.mm.zap import zap
from backend.emulator.scenario.step import Action, Pages, StepContext
from backend.emulator.scenario.step_arguments import MOVES
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit
from backend.emulator.tasks.permissions import caller_of
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.errors import os_error
from backend.kernel import MoveFlag
from backend.nodeset import NodeSet


def caller(at: StepContext, who: int | str | None, own: bool = False) -> Caller:
    """The credentials of a call. `who`: a process by name, or a uid. The default is the task itself if `own`, else
    uid 0. Raises OSError ESRCH."""
    if isinstance(who, str):
        task = at.tasks.get(who)
        if task is None or not task.alive:
            raise os_error(errno.ESRCH)
        return caller_of(task)
    if own and who is None:
        return caller_of(at.task)
    return Caller(who or 0, not who, at.task.pid if own else 1)


@dataclass(frozen=True, slots=True)
class Touch(Action):
    """Access pages from one of the task's threads. `value`: the contents to write to each page."""

    region: str
    pages: Pages | None = None
    write: bool = True
    thread: int = 0
    value: int | None = None

    def run(self, at: StepContext) -> Events:
        threads = at.task.threads
        thread = threads[self.thread % len(threads)]
        if self.value is not None and not self.write:
            raise os_error(errno.EINVAL)
        yield from touch(at.machine, at.task, thread, at.region.start, at.index(self.pages), self.write)
        if self.value is not None:
            for vma, index in at.spans(self.pages):
                there = index[(vma.pte[index] & (PTE_PRESENT | PTE_WRITE)) == PTE_PRESENT | PTE_WRITE]
                vma.mark(at.machine.frames, there, write=True)
                store_values(at.machine, vma, there, self.value)
        return 0


@dataclass(frozen=True, slots=True)
class Dontneed(Action):
    """madvise(MADV_DONTNEED). Raises OSError EINVAL for VM_LOCKED, VM_HUGETLB and VM_IO mappings, ESRCH."""

    region: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        m, mm = at.machine, at.task.mm
        if mm is None:
            raise os_error(errno.ESRCH)
        yield from mm.lock.down_read(m.env)
        try:
            yield from m.step("dontneed", 0.0)
            spans = list(at.spans(self.pages))
            if any(vma.flags & (VM.LOCKED | VM.HUGETLB | VM.IO) for vma, _ in spans):
                raise os_error(errno.EINVAL)
            for vma, index in spans:
                zap(m, vma, index, at.task.leader.cpu)
        finally:
            mm.lock.up_read()
        return 0


@dataclass(frozen=True, slots=True)
class Pin(Action):
    """Hold a reference to each resident page for `for_` simulated seconds, as get_user_pages() does for I/O. Returns
    the number of pages held."""

    region: str
    for_: float
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        m = at.machine
        held: list[int] = []
        for vma, index in at.spans(self.pages):
            held += vma.pfns(index[(vma.pte[index] & PTE_PRESENT) != 0]).tolist()
        for pfn in held:
            m.locks.get_page(pfn)
        yield from m.step("pinned", self.for_)
        for pfn in held:
            m.locks.put_page(pfn)
        return len(held)


@dataclass(frozen=True, slots=True)
class Mlock(Action):
    """mlock(2)."""

    region: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        return (yield from mlock.mlock(at.machine, at.task, *_range(at, self.pages)))


@dataclass(frozen=True, slots=True)
class Munlock(Action):
    """munlock(2)."""

    region: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        return (yield from mlock.munlock(at.machine, at.task, *_range(at, self.pages)))


def _range(at: StepContext, pages: Pages | None) -> tuple[int, int]:
    """(address, number of pages) of the pages in the region."""
    index = at.index(pages)
    return at.region.start + int(index[0]) * at.machine.page_size, len(index)


@dataclass(frozen=True, slots=True)
class Ksm(Action):
    """Merge pages of equal contents, as ksmd does."""

    region: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        return (yield from ksm.merge(at.machine, at.task, at.region.start, at.index(self.pages)))


@dataclass(frozen=True, slots=True)
class MigratePages(Action):
    """migrate_pages(2) on the task by the caller `as_`; root by default."""

    from_: NodeSet
    to: NodeSet
    as_: int | str | None = None

    def run(self, at: StepContext) -> Events:
        old, new = self.from_, self.to
        bits = max(len(old.mask()), len(new.mask())) * 8
        return (
            yield from syscalls.migrate_pages(
                at.machine, caller(at, self.as_), at.task.pid, old.maxnode(bits), old.mask(bits), new.mask(bits)
            )
        )


@dataclass(frozen=True, slots=True)
class MovePages(Action):
    """move_pages(2) of pages to one node by the caller `as_`; root by default. `all`: MOVE_ALL instead of MOVE."""

    region: str
    node: int
    pages: Pages | None = None
    all: bool = False
    as_: int | str | None = None

    def run(self, at: StepContext) -> Events:
        addresses = at.region.start + at.index(self.pages) * at.machine.page_size
        pages = array("Q", addresses.astype(np.uint64).tobytes())
        nodes = array("i", [self.node]) * len(pages)
        status = array("i", [0]) * len(pages)
        flags = MoveFlag.MOVE_ALL if self.all else MoveFlag.MOVE
        who = caller(at, self.as_)
        return (yield from syscalls.move_pages(at.machine, who, at.task.pid, pages, nodes, status, flags))


@dataclass(frozen=True, slots=True)
class SetMempolicy(Action):
    """set_mempolicy(2)."""

    policy: Mempolicy

    def run(self, at: StepContext) -> Events:
        policy, nodes = self.policy, self.policy.asked or self.policy.nodes
        mode = policy.mode | policy.flags
        return (
            yield from policy_calls.set_mempolicy(at.machine, caller_of(at.task), mode, nodes.maxnode(), nodes.mask())
        )


@dataclass(frozen=True, slots=True)
class Mbind(Action):
    """mbind(2) by the caller `as_`; the task itself by default."""

    region: str
    policy: Mempolicy
    pages: Pages | None = None
    move: str = "none"
    strict: bool = False
    as_: int | str | None = None

    def run(self, at: StepContext) -> Events:
        policy, nodes = self.policy, self.policy.asked or self.policy.nodes
        address, count = _range(at, self.pages)
        flags = MOVES[self.move] | (MoveFlag.STRICT if self.strict else 0)
        return (
            yield from mbind(
                at.machine, caller(at, self.as_, own=True), address, count * at.machine.page_size,
                policy.mode | policy.flags, nodes.maxnode(), nodes.mask(), flags,
            )
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schedule(Action):
    """Move the task's leader to a CPU, and its other threads to CPUs of the same node."""

    cpu: int

    def run(self, at: StepContext) -> Events:
        schedule(at.machine, at.task, self.cpu)
        yield from at.machine.step("schedule", 0.0)
        return 0


@dataclass(frozen=True, slots=True)
class Fork(Action):
    """fork(2). Returns the pid of the child. `child`: its name for later steps."""

    child: str

    def run(self, at: StepContext) -> Events:
        child: Task = yield from fork.fork(at.machine, at.task, self.child)
        at.forked(self.child, child)
        return child.pid


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """End the task."""

    def run(self, at: StepContext) -> Events:
        do_exit(at.machine, at.task)
        yield from at.machine.step("exit", 0.0)
        return 0
