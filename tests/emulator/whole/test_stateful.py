"""Everything that can happen to the machine, at any moment, in any order: the invariants hold after every step."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.emulator.abi import syscalls
from backend.emulator.abi.mbind import mbind
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.hotplug import bad_page, offline, online
from backend.emulator.migration.numa_balancing import change_prot_numa
from backend.emulator.mm.fault import OutOfMemory, SegmentationFault, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.ksm import merge
from backend.emulator.mm.mlock import mlock, munlock
from backend.emulator.mm.mm import PTE_MIGRATION, PTE_PRESENT, PTE_SHIFT, PTE_SWAP, VM, Mm, Vma
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.mm.zap import zap
from backend.emulator.storage import file_io
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.page_cache import truncate
from backend.emulator.storage.swapoff import swapoff
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.scheduler import balance, schedule
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check, check_at_rest, check_drained
from tests.emulator.machines import machine, region, write_equal
from tests.emulator.whole.cpuset_rules import CpusetRules, reached

sets = st.sets(st.integers(0, 3), min_size=1).map(NodeSet)
picks = st.integers(0, 1 << 16)


seen: set[str] = set()


class Happenings(CpusetRules, RuleBasedStateMachine):
    profile = "linux-6"
    batch = 1
    pages = 48

    def __init__(self) -> None:
        super().__init__()
        self.m: Machine = machine(self.profile, pages=self.pages, swap_pages=24, batch=self.batch, huge=8)
        self.m.balancing.mode = int(self.m.profile.numa_balancing)
        self.tasks: list[Task] = []
        self.exited: list[Mm] = []
        self.pins: list[int] = []

    def _start(self, path: Events) -> None:
        """A path that runs along with everything else; refusals are outcomes."""

        def guarded() -> Events:
            try:
                yield from path
            except (OSError, OutOfMemory, SegmentationFault):
                return

        self.m.env.process(guarded())

    def _keep(self, task: Task) -> None:
        """A task may be killed while a call still holds its address space: it is looked at as long as it is there."""
        if task.mm:
            self.exited.append(task.mm)

    def _task(self, pick: int) -> Task:
        return self.tasks[pick % len(self.tasks)]

    def _vma(self, pick: int) -> tuple[Task, Vma] | None:
        task = self._task(pick)
        vmas = [vma for vma in task.mm.vmas if vma.pages > 3] if task.mm else []
        return (task, vmas[pick // 7 % len(vmas)]) if vmas else None

    @initialize()
    def first_task(self) -> None:
        self._spawn({0: 6, 1: 4}, 0)

    def _spawn(self, layout: dict[int, int], cpu: int) -> None:
        task = spawn(self.m, "t", cpu=cpu, threads=[(cpu + 3) % 8])
        region(self.m, task, layout, pages=14)
        self.tasks.append(task)
        self._keep(task)

    @precondition(lambda self: len(self.tasks) < 3)
    @rule(cpu=st.integers(0, 7))
    def spawn(self, cpu: int) -> None:
        self._spawn({}, cpu)

    @precondition(lambda self: self.tasks)
    @rule(
        pick=picks,
        first=st.integers(0, 13),
        count=st.integers(1, 5),
        write=st.booleans(),
        thread=st.integers(0, 1),
    )
    def touch(self, pick: int, first: int, count: int, write: bool, thread: int) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            index = np.arange(first, min(vma.pages, first + count), dtype=np.int64)
            self._start(touch(self.m, task, task.threads[thread], vma.start, index, write))

    @precondition(lambda self: self.tasks and self.m.balancing.mode)
    @rule(
        pick=picks,
        first=st.integers(0, 13),
        count=st.integers(1, 8),
        cpu=st.integers(0, 7),
        write=st.booleans(),
    )
    def hinting_faults(self, pick: int, first: int, count: int, cpu: int, write: bool) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            index = np.arange(first, min(vma.pages, first + count), dtype=np.int64)
            change_prot_numa(self.m, vma, index, None)
            task.threads[1].cpu = cpu
            self._start(touch(self.m, task, task.threads[1], vma.start, index[: 1 + count // 2], write))

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, old=sets, new=sets, privileged=st.booleans())
    def migrate_pages(self, pick: int, old: NodeSet, new: NodeSet, privileged: bool) -> None:
        pid, caller = self._task(pick).pid, Caller(0, privileged)
        self._start(syscalls.migrate_pages(self.m, caller, pid, 65, old.mask(), new.mask()))

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, nodes=st.lists(st.integers(0, 4), min_size=1, max_size=8), first=st.integers(0, 13))
    def move_pages(self, pick: int, nodes: list[int], first: int) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            pages = array("Q", [vma.start + (first + n) * 4096 for n in range(len(nodes))])
            status = array("i", [0]) * len(nodes)
            self._start(syscalls.move_pages(self.m, Caller(), task.pid, pages, array("i", nodes), status, 2))

    @precondition(lambda self: self.tasks)
    @rule(
        pick=picks,
        to=st.integers(0, 3),
        write=st.booleans(),
        steps=st.integers(0, 3),
        thread=st.integers(0, 1),
    )
    def fault_on_a_page_that_is_moving(self, pick: int, to: int, write: bool, steps: int, thread: int) -> None:
        found = self._vma(pick)
        if not found:
            return
        task, vma = found
        if not self._moving(vma):
            self._start(
                syscalls.migrate_pages(self.m, Caller(), task.pid, 65, NodeSet(range(4)).mask(), NodeSet([to]).mask())
            )
        for _ in range(30):
            if self._moving(vma) or self.m.env.peek() == float("inf"):
                break
            self.m.env.step()
        for _ in range(steps):
            if self.m.env.peek() != float("inf"):
                self.m.env.step()
        moving = self._moving(vma)
        if moving and task.alive:
            index = np.array([moving[pick % len(moving)]], np.int64)
            self._start(touch(self.m, task, task.threads[thread], vma.start, index, write))

    def _moving(self, vma: Vma) -> list[int]:
        return np.nonzero((vma.pte & (PTE_SWAP | PTE_MIGRATION)) != 0)[0].tolist()

    @precondition(lambda self: self.tasks)
    @rule(
        pick=picks, first=st.integers(0, 13), count=st.integers(1, 8), nodes=sets,
        mode=st.sampled_from([0, 1, 2, 3, 4, 5]), flags=st.sampled_from([0, 1, 2, 3, 4, 5]),
    )  # fmt: skip
    def mbind(self, pick: int, first: int, count: int, nodes: NodeSet, mode: int, flags: int) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            caller = Caller(0, True, task.pid)
            mask = b"" if mode in (0, 4) else nodes.mask()
            path = mbind(self.m, caller, vma.start + first * 4096, count * 4096, mode, 65, mask, flags)
            self._start(path)

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, first=st.integers(0, 13), count=st.integers(1, 6), drains=st.booleans())
    def dontneed(self, pick: int, first: int, count: int, drains: bool) -> None:
        found = self._vma(pick)
        if found:
            index = np.arange(first, min(found[1].pages, first + count), dtype=np.int64)
            zap(self.m, found[1], index, found[0].leader.cpu if drains else None)

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, drains=st.booleans())
    def munmap(self, pick: int, drains: bool) -> None:
        found = self._vma(pick)
        if found:
            munmap(self.m, found[1], found[0].leader.cpu if drains else None)
            if found[1].file is None:
                region(self.m, found[0], {}, pages=14)

    @precondition(lambda self: self.tasks and self.profile == "linux-6" and self.pages > 20)
    @rule(pick=picks, pool=st.booleans(), write=st.booleans())
    def map_huge_pages(self, pick: int, pool: bool, write: bool) -> None:
        task = self._task(pick)
        if task.mm and sum(bool(vma.flags & (VM.HUGEPAGE | VM.HUGETLB)) for vma in task.mm.vmas) < 3:
            if pool:
                fill_pool(self.m, pick % 4, 1)
            vma = mmap(self.m, task, 16, flags=VM.WRITE | (VM.HUGETLB if pool else VM.HUGEPAGE))
            vma.expected = np.zeros(16, np.uint64)
            self._start(touch(self.m, task, task.leader, vma.start, np.arange(16, dtype=np.int64), write))

    @precondition(lambda self: self.tasks and self.profile == "linux-6")
    @rule(
        pick=picks,
        first=st.integers(0, 9),
        count=st.integers(2, 6),
        value=st.integers(1 << 60, (1 << 60) + 1),
    )
    def equal_pages_are_merged(self, pick: int, first: int, count: int, value: int) -> None:
        found = self._vma(pick)
        if found and found[1].file is None:
            task, vma = found
            index = np.arange(first, min(vma.pages, first + count), dtype=np.int64)
            write_equal(self.m, vma, index, value)
            self._start(merge(self.m, task, vma.start, index))

    def _files(self) -> list[AddressSpace]:
        return [space for space in self.m.rmap.spaces.values() if not space.unlinked]

    @precondition(lambda self: self.tasks and len(self.m.rmap.spaces) < 4)
    @rule(
        pick=picks, kind=st.sampled_from(["ext2", "ext3", "nfs", "tmpfs", "shared"]), shared=st.booleans(),
        cached=st.integers(0, 10), node=st.integers(0, 3), dirty=st.booleans(),
    )  # fmt: skip
    def map_a_new_file(self, pick: int, kind: str, shared: bool, cached: int, node: int, dirty: bool) -> None:
        m = self.m
        room = m.frames.room(node) > cached and kind not in ("tmpfs", "shared")
        space = (
            shared_memory(m, 10)
            if kind == "shared"
            else file(m, kind, 10, {node: cached} if room and cached else None, dirty)
        )
        mapped(m, self._task(pick), space, shared or kind == "shared")

    @precondition(lambda self: self.tasks and self._files())
    @rule(pick=picks, shared=st.booleans())
    def map_a_file(self, pick: int, shared: bool) -> None:
        space = self._files()[pick % len(self._files())]
        if space.size:
            mapped(self.m, self._task(pick // 3), space, shared)

    @precondition(lambda self: self.tasks and self._files())
    @rule(pick=picks, first=st.integers(0, 11), count=st.integers(1, 5), read=st.booleans())
    def read_or_write_a_file(self, pick: int, first: int, count: int, read: bool) -> None:
        space, task = self._files()[pick % len(self._files())], self._task(pick // 3)
        call = file_io.read if read else file_io.write
        index = np.arange(first, first + count, dtype=np.int64)
        self._start(call(self.m, task, task.leader, space, index))

    @precondition(lambda self: self._files())
    @rule(pick=picks)
    def fsync(self, pick: int) -> None:
        self._start(file_io.fsync(self.m, self._files()[pick % len(self._files())]))

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, wait=st.booleans())
    def msync(self, pick: int, wait: bool) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            index = np.arange(vma.pages, dtype=np.int64)
            self._start(file_io.msync(self.m, task, vma.start, index, wait))

    @precondition(lambda self: self._files())
    @rule(pick=picks, size=st.integers(0, 9), cpu=st.none() | st.integers(0, 7))
    def truncate(self, pick: int, size: int, cpu: int | None) -> None:
        self._start(truncate(self.m, self._files()[pick % len(self._files())], size, cpu))

    @precondition(lambda self: self._files())
    @rule(pick=picks)
    def unlink(self, pick: int) -> None:
        self._start(file_io.unlink(self.m, self._files()[pick % len(self._files())]))

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, index=st.integers(0, 13))
    def pin(self, pick: int, index: int) -> None:
        found = self._vma(pick)
        if found and index < found[1].pages and found[1].pte[index] & PTE_PRESENT:
            self.pins.append(int(found[1].pte[index]) >> PTE_SHIFT)
            self.m.locks.get_page(self.pins[-1])

    @precondition(lambda self: self.pins)
    @rule(pick=picks)
    def unpin(self, pick: int) -> None:
        self.m.locks.put_page(self.pins.pop(pick % len(self.pins)))

    @precondition(lambda self: 0 < len(self.tasks) < 4)
    @rule(pick=picks)
    def fork(self, pick: int) -> None:
        def forking(parent: Task) -> Events:
            child = yield from fork(self.m, parent)
            child.threads.append(child.leader)
            self.tasks.append(child)
            self._keep(child)

        self._start(forking(self._task(pick)))

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, first=st.integers(0, 13), count=st.integers(1, 6), lock=st.booleans())
    def mlock(self, pick: int, first: int, count: int, lock: bool) -> None:
        found = self._vma(pick)
        if found:
            task, vma = found
            call = mlock if lock else munlock
            self._start(call(self.m, task, vma.start + first * 4096, count))

    @rule(often=st.integers(0, 5))
    def swapoff(self, often: int) -> None:
        if not often:
            self._start(swapoff(self.m))

    @rule(cpu=st.integers(0, 7), everywhere=st.booleans())
    def drain(self, cpu: int, everywhere: bool) -> None:
        if everywhere:
            self._start(self.m.pagevecs.lru_add_drain_all())
        else:
            self.m.pagevecs.lru_add_drain(cpu)

    @rule(node=st.integers(0, 3), back=st.booleans())
    def hotplug(self, node: int, back: bool) -> None:
        self._start(online(self.m, node) if back else offline(self.m, node))

    @precondition(lambda self: self.tasks and len(self.m.frames.bad) < 6)
    @rule(pick=picks, index=st.integers(0, 13))
    def bad_page(self, pick: int, index: int) -> None:
        found = self._vma(pick)
        if found and index < found[1].pages and found[1].pte[index] & PTE_PRESENT:
            self._start(bad_page(self.m, int(found[1].pte[index]) >> PTE_SHIFT))

    @precondition(lambda self: len(self.tasks) > 1)
    @rule(pick=picks)
    def exit(self, pick: int) -> None:
        task = self._task(pick)
        self.tasks.remove(task)
        if task.mm:
            self.exited.append(task.mm)
        do_exit(self.m, task)

    @precondition(lambda self: self.tasks)
    @rule(pick=picks, cpu=st.integers(0, 7))
    def schedule(self, pick: int, cpu: int) -> None:
        schedule(self.m, self._task(pick), cpu)
        balance(self.m)

    @rule(events=st.integers(1, 40))
    def some_steps(self, events: int) -> None:
        for _ in range(events):
            if self.m.env.peek() == float("inf"):
                return
            self.m.env.step()
            check(self.m, self.exited)

    @rule()
    def come_to_rest(self) -> None:
        check_at_rest(self.m, self.exited, len(self.pins))

    @invariant()
    def invariants_hold(self) -> None:
        self.tasks = [task for task in self.tasks if task.alive]
        check(self.m, self.exited)
        cached = self.m.pagevecs.cached()
        if (self.m.frames.refcount[cached] == 1).any():
            seen.add("a page that only a pagevec still holds")

    def teardown(self) -> None:
        check_drained(self.m, self.exited, len(self.pins))
        seen.update(name for name, value in self.m.counters.items() if value)


CHECKS_TO_SKIP = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def state_machine(profile: str, batch: int, pages: int) -> type[Happenings]:
    name = f"{profile}-batch-{batch}-pages-{pages}"
    return type(name, (Happenings,), {"profile": profile, "batch": batch, "pages": pages})


CASES = (
    ("linux-6", 1, 48), ("linux-6", 64, 48), ("direct-v8", 1, 48), ("direct-v8", 64, 48), ("swap-2.6.15", 1, 48),
    ("swap-2.6.15", 64, 48), ("linux-6", 1, 10), ("direct-v8", 4, 10), ("swap-2.6.15", 4, 10),
)  # fmt: skip
"""Profile, frames per kernel step, frames a node: 10 is memory pressure."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_happens_the_invariants_hold(case: tuple[str, int, int]) -> None:
    run_state_machine_as_test(
        state_machine(*case),
        settings=settings(
            max_examples=70,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=CHECKS_TO_SKIP,
            derandomize=True,
        ),
    )


def test_the_state_machine_came_to_the_interesting_places() -> None:
    """Run after the cases above: they met faults on moving pages, retries and failures, in both mechanisms."""
    if not seen:
        pytest.skip("the cases did not run in this process")
    assert {
        "pgmigrate_success",
        "pgmigrate_fail",
        "migrate_passes",
        "migration_waits",
        "swapcache_faults",
        "numa_hint_faults_local",
        "numa_pages_migrated",
        "lru_add_drain_all",
        "a page that only a pagevec still holds",
    } <= seen
    assert {"linux-6", "direct-v8"} <= reached


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_batch_size_never_changes_the_outcome_when_nothing_else_runs(profile: str) -> None:
    results = []
    for batch in (1, 3, 512):
        m = machine(profile, pages=300, batch=batch, swap_pages=600)
        task = spawn(m, "t", cpu=0)
        vma = region(m, task, {0: 100, 1: 50, 2: 70})
        before = m.frames.contents[vma.pfns(np.arange(220))].tolist()
        result = m.run(
            syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0, 1]).mask(), NodeSet([2, 3]).mask())
        )
        after = m.frames.contents[vma.pfns(np.arange(220))].tolist()
        assert before == after
        results.append(
            (
                result,
                vma.pte.tolist(),
                m.swap.used,
                {k: v for k, v in m.counters.items() if k != "migrate_passes"},
            )
        )
        check_at_rest(m)
    assert results[0] == results[1] == results[2]
