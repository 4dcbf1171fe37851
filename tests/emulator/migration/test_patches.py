"""Each of the five patches can be taken away, and one sees what it was for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine, Patches
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import Vma
from backend.emulator.mm.zap import zap
from backend.emulator.storage.swapoff import swapoff
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096


def moved(patches: Patches, old: list[int], new: list[int], **options: Any) -> tuple[Machine, Task, Vma, int]:
    """Six pages on node 0 and four on node 1, after a migrate_pages that root (on node 0) asked for."""
    m = machine("direct-v8", patches=patches, **options)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 6, 1: 4})
    left = m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet(old).mask(), NodeSet(new).mask()))
    return m, task, vma, left


def test_with_all_five_pages_move_where_they_were_sent_and_nothing_is_left_behind() -> None:
    m, task, vma, left = moved(Patches(), [0, 1], [2, 3])
    assert (left, nodes_of(m, vma), m.swap.used) == (0, [2] * 6 + [3] * 4, 0)
    faults = task.min_flt
    m.run(touch(m, task, task.leader, vma.start, np.arange(10, dtype=np.int64), write=False))
    assert task.min_flt == faults
    assert "pswpout" not in m.counters
    check_at_rest(m)


def test_without_patch_2_pages_are_merely_evicted() -> None:
    m, _, vma, _ = moved(Patches(direct_migrate=False), [0, 1], [2, 3])
    assert nodes_of(m, vma) == [-1] * 10
    assert (m.swap.used, m.counters["pswpout"]) == (10, 10)
    check_at_rest(m)


def test_without_patch_3_swap_ptes_and_slots_stay_behind_and_every_touch_faults() -> None:
    m, task, vma, left = moved(Patches(remove_from_swap=False), [0, 1], [2, 3])
    assert left == 0
    assert (m.swap.used, vma.nr_swap, vma.nr_mapped) == (10, 10, 0)
    faults = task.min_flt
    m.run(touch(m, task, task.leader, vma.start, np.arange(10, dtype=np.int64), write=False))
    assert task.min_flt == faults + 10
    assert "pswpin" not in m.counters
    assert (m.swap.used, nodes_of(m, vma)) == (10, [2] * 6 + [3] * 4)
    check_at_rest(m)


def test_without_patch_4_nobody_says_where_to_and_the_relative_position_is_lost() -> None:
    m, _, vma, left = moved(Patches(node_sets=False), [0, 1], [2, 3])
    assert left == 0
    assert nodes_of(m, vma) == [0] * 10, "new frames come from where the caller runs"
    check_at_rest(m)


@pytest.mark.parametrize("kind", ["anonymous", "ext3"])
def test_without_patch_5_every_dirty_page_is_written_back_before_it_moves(kind: str) -> None:
    for on, writes in ((True, 0), (False, 10)):
        m = machine("direct-v8", patches=Patches(buffer_migrate=on))
        task = spawn(m, "t", cpu=0)
        if kind == "anonymous":
            vma = region(m, task, {0: 10})
        else:
            vma = mapped(m, task, file(m, kind, 10, {0: 10}))
            m.run(touch(m, task, task.leader, vma.start, np.arange(10, dtype=np.int64), write=True))
        assert m.run(_migrate(m, task)) == 0
        m.run(touch(m, task, task.leader, vma.start, np.arange(10, dtype=np.int64), write=False))
        assert nodes_of(m, vma) == [3] * 10
        assert m.counters.get("nr_written", 0) + m.counters.get("pswpout", 0) == writes
        check_at_rest(m)


def _migrate(m: Machine, task: Task) -> Events:
    return syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask())


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8", "swap-2.6.15"])
def test_swapoff_brings_everything_back(profile: str) -> None:
    m = machine(profile, pages=64, nodes=2, swap_pages=300)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {}, pages=100)
    shared = shared_memory(m, 60)
    theirs = mapped(m, task, shared)
    m.run(touch(m, task, task.leader, vma.start, np.arange(100, dtype=np.int64), write=True))
    m.run(touch(m, task, task.leader, theirs.start, np.arange(60, dtype=np.int64), write=True))
    used = m.swap.used
    assert used > 20
    with pytest.raises(OSError, match="Cannot allocate"):
        m.run(swapoff(m))
    check_at_rest(m)
    zap(m, vma, np.arange(90, dtype=np.int64))
    m.run(swapoff(m))
    assert (m.swap.used, m.swap.total, vma.nr_swap) == (0, 0, 0)
    assert (shared.swapped < 0).all()
    check_at_rest(m)
    with pytest.raises(OSError, match="Invalid"):
        m.run(swapoff(m))


def _swapoff_race(recheck: bool, shared: bool, steps: int) -> int:
    """swapoff, `steps` after a migration has begun; returns how often it had to look again."""
    m = machine("direct-v8", patches=Patches(swapcache_recheck=recheck))
    task = spawn(m, "t", cpu=0)
    if shared:
        vma = mapped(m, task, shared_memory(m, 4))
        m.run(touch(m, task, task.leader, vma.start, np.arange(4, dtype=np.int64), write=True))
    else:
        region(m, task, {0: 4})
    moving = m.env.process(_migrate(m, task))
    for _ in range(steps):
        m.env.step()
    other = m.env.process(swapoff(m))
    while moving.is_alive or other.is_alive:
        m.env.step()
        check(m)
    check_at_rest(m)
    return m.counters.get("swapcache_rechecks", 0)


@pytest.mark.parametrize("shared", [False, True])
def test_swapoff_may_come_between_any_two_steps_of_a_migration(shared: bool) -> None:
    rechecks = sum(_swapoff_race(True, shared, steps) for steps in range(1, 14))
    assert shared or rechecks
