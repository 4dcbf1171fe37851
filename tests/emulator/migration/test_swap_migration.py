"""Swap migration, the technique that direct migration replaces: pages leave memory and come back by policy."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.kernel import Mode
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096


def evicted(pages: int = 8, swap_pages: int = 64, cpu: int = 0) -> tuple[Machine, Task, Vma, int]:
    """Pages of node 0, after a migrate_pages(0 → 3) of that kernel: (machine, task, mapping, what the call
    returned)."""
    m = machine("swap-2.6.15", swap_pages=swap_pages)
    task = spawn(m, "t", cpu=cpu)
    vma = region(m, task, {0: pages})
    return (
        m,
        task,
        vma,
        EmulatedKernel(m).migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask()),
    )


def test_pages_are_merely_evicted_each_costing_a_slot_and_a_write() -> None:
    m, _, vma, left = evicted()
    assert left == 0
    assert nodes_of(m, vma) == [-1] * 8
    assert vma.nr_swap == m.swap.used == 8
    assert m.counters["pswpout"] == 8
    check_at_rest(m)


def test_they_come_back_where_the_thread_runs_with_their_contents() -> None:
    m, task, vma, _ = evicted(cpu=2)
    for index in range(8):
        assert m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False)) == vma.expected[index]
    assert nodes_of(m, vma) == [1] * 8, "not the target that was asked for"
    assert m.counters["pswpin"] == m.counters["pgmajfault"] == 8
    check_at_rest(m)


def test_a_policy_that_was_set_before_brings_them_to_its_node() -> None:
    m, task, vma, _ = evicted()
    task.policy = Mempolicy(Mode.BIND, NodeSet([3]))
    m.run(touch(m, task, task.leader, vma.start, np.arange(8, dtype=np.int64), write=True))
    assert nodes_of(m, vma) == [3] * 8
    check_at_rest(m)


@pytest.mark.parametrize(("slots", "stay"), [(0, 8), (3, 5), (8, 0)])
def test_without_free_slots_pages_stay(slots: int, stay: int) -> None:
    m, _, vma, left = evicted(swap_pages=slots)
    assert left == stay
    assert nodes_of(m, vma).count(0) == stay
    check_at_rest(m)


def test_writing_to_a_page_that_came_back_gives_its_slot_back() -> None:
    m, task, vma, _ = evicted()
    m.run(access(m, task, task.leader, vma.start, write=True))
    assert m.swap.used == 7
    check_at_rest(m)


def test_a_task_that_exits_gives_all_slots_back_also_while_pages_are_written() -> None:
    for steps in range(9, 70, 7):
        m = machine("swap-2.6.15")
        task = spawn(m, "t", cpu=0)
        region(m, task, {0: 8})
        from backend.emulator.abi import syscalls

        m.env.process(
            syscalls.migrate_pages(m, syscalls.Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask())
        )
        for _ in range(steps):
            if m.env.peek() != float("inf"):
                m.env.step()
        do_exit(m, task)
        check_at_rest(m)
        assert m.swap.used == 0
        assert all(zone.free == zone.pages for zone in m.frames.zones.values())


def test_direct_migration_is_faster_and_writes_nothing() -> None:
    times = {}
    for profile in ("direct-v8", "swap-2.6.15"):
        m = machine(profile)
        task = spawn(m, "t", cpu=6)
        vma = region(m, task, {0: 20})
        began = m.now
        EmulatedKernel(m).migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask())
        m.run(touch(m, task, task.leader, vma.start, np.arange(20, dtype=np.int64), write=True))
        times[profile] = m.now - began
        assert m.counters.get("pswpout", 0) == (0 if profile == "direct-v8" else 20)
    assert times["direct-v8"] * 5 < times["swap-2.6.15"]


def test_one_of_two_that_share_a_page_in_the_swap_cache_does_not_write_to_the_others() -> None:
    m, task, vma, _ = evicted()
    child = m.run(fork(m, task))
    before = int(vma.expected[0])
    assert m.run(access(m, task, task.leader, vma.start, write=False)) == before
    m.run(access(m, child, child.leader, vma.start, write=True))
    assert m.run(access(m, task, task.leader, vma.start, write=False)) == before
    check_at_rest(m)
