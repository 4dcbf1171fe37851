"""Direct migration step by step: what moves, what stays and why, what is left behind, in both mechanisms."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import errno

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.frames.page import PG
from backend.emulator.machine import Machine
from backend.emulator.migration.direct import PASSES
from backend.emulator.mm.fault import access
from backend.emulator.mm.mm import PTE_SWAP, VM
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region
from tests.emulator.rig import Me

PROFILES = ["linux-6", "direct-v8"]


def migrate(m: Machine, pid: int, old: list[int], new: list[int], caller: Caller | None = None) -> int:
    return EmulatedKernel(m, caller).migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask())


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_keep_contents_addresses_and_relative_position(profile: str) -> None:
    m = machine(profile)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 5, 1: 5})
    start, expected = vma.start, vma.expected.copy()
    assert migrate(m, task.pid, [0, 1], [2, 3]) == 0
    assert nodes_of(m, vma) == [2] * 5 + [3] * 5
    assert vma.start == start
    for index in range(10):
        assert m.run(access(m, task, task.leader, vma.start + index * 4096, write=False)) == expected[index]
    check_at_rest(m)


def test_direct_migration_leaves_no_swap_slot_and_no_swap_pte_behind() -> None:
    m = machine("direct-v8")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 20})
    assert migrate(m, task.pid, [0], [1]) == 0
    assert m.swap.used == 0
    assert not (vma.pte & PTE_SWAP).any()
    check_at_rest(m)


def test_direct_migration_needs_swap_slots_but_linux_6_does_not() -> None:
    for profile, left in (("direct-v8", 20), ("linux-6", 0)):
        m = machine(profile, swap_pages=0)
        task = spawn(m, "t", cpu=0)
        vma = region(m, task, {0: 20})
        assert migrate(m, task.pid, [0], [1]) == left
        assert nodes_of(m, vma) == [0 if left else 1] * 20
        check_at_rest(m)


def test_fewer_slots_than_pages_move_chunk_by_chunk() -> None:
    m = machine("direct-v8", pages=1024, swap_pages=300)
    task = spawn(m, "t", cpu=0)
    region(m, task, {0: 700})
    assert migrate(m, task.pid, [0], [1]) == 0, "a chunk of 256 gives its slots back before the next"
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_pinned_page_is_tried_in_every_pass_and_stays(profile: str) -> None:
    m = machine(profile)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 3})
    pinned = int(vma.pfns(np.array([1]))[0])
    m.locks.get_page(pinned)
    assert migrate(m, task.pid, [0], [2]) == 1
    assert nodes_of(m, vma) == [2, 0, 2]
    assert m.counters["migrate_passes"] == PASSES
    m.locks.put_page(pinned)
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_locked_page_is_waited_for_from_the_fourth_pass(profile: str) -> None:
    m = machine(profile)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 2})
    pfn = vma.pfns(np.array([0]))
    m.locks.trylock(pfn)

    def holder():
        yield m.env.timeout(5.0)
        m.locks.unlock(pfn)

    m.env.process(holder())
    assert migrate(m, task.pid, [0], [3]) == 0
    assert m.now > 5.0
    assert nodes_of(m, vma) == [3, 3]
    check_at_rest(m)


def test_a_full_target_stops_linux_6_with_enomem_and_what_moved_stays_moved() -> None:
    m = machine("linux-6", pages=256)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 200})
    other = spawn(m, "hog", cpu=2)
    region(m, other, {1: 150})
    room = m.frames.zones[1].free - m.frames.zones[1].wmark_min
    with pytest.raises(OSError) as caught:
        migrate(m, task.pid, [0], [1])
    assert caught.value.errno == errno.ENOMEM
    assert nodes_of(m, vma).count(1) == room
    check_at_rest(m)


def test_a_full_target_makes_direct_v8_fall_back_to_the_next_node() -> None:
    m = machine("direct-v8", pages=256, swap_pages=400)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 200})
    region(m, spawn(m, "hog", cpu=2), {1: 150})
    assert migrate(m, task.pid, [0], [1]) == 0
    landed = nodes_of(m, vma)
    assert -1 not in landed
    assert 1 in landed
    assert set(landed) - {1}
    check_at_rest(m)


@pytest.mark.parametrize("flag", [VM.IO, VM.RESERVED])
def test_io_and_reserved_mappings_never_move(flag: VM) -> None:
    m = machine()
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 4}, flags=VM.WRITE | flag)
    assert migrate(m, task.pid, [0], [1]) == 0
    assert nodes_of(m, vma) == [0] * 4


def test_locked_mappings_move_under_linux_6_only() -> None:
    for profile, lands in (("linux-6", 1), ("direct-v8", 0)):
        m = machine(profile)
        task = spawn(m, "t", cpu=0)
        vma = region(m, task, {0: 4}, flags=VM.WRITE | VM.LOCKED)
        migrate(m, task.pid, [0], [1])
        assert nodes_of(m, vma) == [lands] * 4


@pytest.mark.parametrize("profile", PROFILES)
def test_a_process_that_exits_in_mid_migration_loses_no_frame(profile: str) -> None:
    m = machine(profile, batch=1)
    task = spawn(m, "t", cpu=0)
    free = m.frames.zones[0].free
    vma = region(m, task, {0: 30})
    path = syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    moving = m.env.process(path)
    while nodes_of(m, vma).count(1) < 10:
        m.env.step()
    do_exit(m, task)
    m.env.run(until=moving)
    assert m.frames.zones[0].free == free
    assert all(zone.free == zone.pages for zone in m.frames.zones.values())
    check_at_rest(m)


def test_active_pages_stay_active() -> None:
    m = machine("direct-v8")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 4})
    assert vma.nr_active == 4
    migrate(m, task.pid, [0], [2])
    assert vma.nr_active == 4
    assert ((m.frames.flags[vma.pfns(np.arange(4))] & PG.ACTIVE) != 0).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_run(profile: str) -> None:
    from backend.emulator.scenario.run import run_scenario
    from backend.emulator.scenario.shipped import load

    assert run_scenario(load("scheduler-moves"), seed=7) == run_scenario(load("scheduler-moves"), seed=7)


@pytest.mark.parametrize("bad", [-1, 5000])
def test_a_bad_third_target_fails_the_call_after_moving_the_first_two(bad: int) -> None:
    me = Me()
    vma = me.region({0: 4})
    assert me.move(me.addresses(vma), [1, 1, bad, 1]) == ["-ENODEV", [1, 1, None, None]]
    assert me.where(vma) == [1, 1, 0, 0]


def test_kernel_threads_have_no_pages_to_move() -> None:
    me = Me()
    thread = spawn(me.m, "kswapd0", cpu=0, kernel_thread=True)
    assert me.move([0x1000], 1, pid=thread.pid)[0] == "-EINVAL"


def test_direct_v8_has_no_move_pages() -> None:
    me = Me(m=machine("direct-v8"))
    assert me.move([0x1000], 1)[0] == "-ENOSYS"


def test_a_mask_needs_room_for_one_bit_more_than_it_has() -> None:
    assert Me().migrate([0], [0], maxnode=1) == "-EINVAL"
