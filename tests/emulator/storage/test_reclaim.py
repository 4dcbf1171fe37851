"""Memory pressure: pages that were not used lately go out to swap and come back whole; who is killed when that is not
enough."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.machine import Machine
from backend.emulator.mm.fault import OutOfMemory, access, touch
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mlock import mlock
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.kernel import Mode
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096
PROFILES = ["linux-6", "direct-v8"]


def write(m: Machine, task: Task, vma: Vma, first: int, count: int) -> None:
    index = np.arange(first, first + count, dtype=np.int64)
    m.run(touch(m, task, task.leader, vma.start, index, write=True))


def all_read(m: Machine, task: Task, vma: Vma) -> bool:
    return all(
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False)) == vma.expected[index]
        for index in range(vma.pages)
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_more_memory_than_the_machine_has_works_with_swap_and_keeps_its_contents(profile: str) -> None:
    m = machine(profile, pages=64, nodes=2, swap_pages=300)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {}, pages=200)
    write(m, task, vma, 0, 200)
    assert task.alive
    assert m.counters["pswpout"] > 0
    assert vma.nr_swap > 0
    check_at_rest(m)
    assert all_read(m, task, vma)
    assert m.counters["pswpin"] > 0
    check_at_rest(m)


def test_kswapd_keeps_a_reserve_before_anybody_has_to_wait() -> None:
    m = machine("linux-6", pages=512, nodes=1, swap_pages=2000)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {}, pages=900)
    zone = m.frames.zones[0]
    for first in range(0, 896, 16):
        write(m, task, vma, first, 16)
        m.advance(0.05)
    assert m.counters["kswapd_steal"] > 0
    assert "allocstall" not in m.counters
    m.env.run()
    assert zone.free >= zone.wmark_low
    check_at_rest(m)


def test_pages_in_use_stay_and_idle_ones_go() -> None:
    m = machine("linux-6", pages=256, nodes=1, swap_pages=2000)
    task = spawn(m, "t", cpu=0)
    hot, cold = region(m, task, {}, pages=40), region(m, task, {}, pages=400)
    write(m, task, hot, 0, 40)
    for first in range(0, 400, 8):
        write(m, task, hot, 0, 40)
        write(m, task, cold, first, 8)
        m.advance(0.05)
    assert cold.nr_swap > 100
    assert hot.nr_swap < 10
    check_at_rest(m)


def test_locked_memory_never_goes_out() -> None:
    for profile in PROFILES:
        m = machine(profile, pages=128, nodes=1, swap_pages=1000)
        task = spawn(m, "t", cpu=0)
        locked, other = region(m, task, {}, pages=30), region(m, task, {}, pages=200)
        m.run(mlock(m, task, locked.start, 30))
        write(m, task, other, 0, 200)
        assert nodes_of(m, locked) == [0] * 30
        check_at_rest(m)


def test_without_swap_the_biggest_is_killed_and_the_others_live() -> None:
    m = machine("linux-6", pages=64, nodes=1, swap_pages=0)
    small, big = spawn(m, "small", cpu=0), spawn(m, "big", cpu=1)
    region(m, big, {0: 40})
    vma = region(m, small, {}, pages=30)
    write(m, small, vma, 0, 30)
    assert big.exited == "out of memory"
    assert small.alive
    assert all_read(m, small, vma)
    assert m.counters["oom_kill"] == 1
    check_at_rest(m)


def test_a_task_that_cannot_be_satisfied_is_the_one_that_goes() -> None:
    m = machine("linux-6", pages=64, nodes=2, swap_pages=8)
    other, greedy = spawn(m, "other", cpu=0), spawn(m, "greedy", cpu=2)
    region(m, other, {0: 10})
    greedy.policy = Mempolicy(Mode.BIND, NodeSet([1]))
    vma = region(m, greedy, {}, pages=300)
    with pytest.raises(OutOfMemory):
        write(m, greedy, vma, 0, 300)
    assert greedy.exited == "out of memory"
    assert other.alive, "it has nothing on the node that is short"
    assert m.swap.used == 0
    check_at_rest(m)


@pytest.mark.parametrize("profile", [*PROFILES, "swap-2.6.15"])
def test_a_node_can_go_offline_under_pressure(profile: str) -> None:
    from backend.emulator.migration.hotplug import offline

    m = machine(profile, pages=128, nodes=2, swap_pages=600)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {}, pages=180)
    write(m, task, vma, 0, 180)
    try:
        m.run(offline(m, 1))
    except OSError:
        assert m.frames.zones[1].kept_out == 0
    check_at_rest(m)
    assert all_read(m, task, vma)
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_who_wants_memory_while_all_of_it_is_being_written_waits_and_is_not_killed(profile: str) -> None:
    m = machine(profile, pages=64, nodes=1, swap_pages=300)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {}, pages=160)
    for first in range(0, 160, 4):
        write(m, task, vma, first, 4)
    assert task.alive
    assert all_read(m, task, vma)
    check_at_rest(m)
