"""Huge pages of linux-6 move whole: transparent ones are split where there is no block for them, those of the pool have
theirs."""

from __future__ import annotations

import errno
from array import array

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.abi.mbind import mbind
from backend.emulator.frames.page import PG, State
from backend.emulator.machine import Machine
from backend.emulator.migration.hotplug import bad_page, offline, online
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.file_fault import BusError
from backend.emulator.mm.fork import fork
from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.mm.zap import zap
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.kernel import Mode
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of

PAGE = 4096
HUGE = 8


def mapped(flag: VM, blocks: int, cpu: int = 0, **options: int) -> tuple[Machine, Task, Vma]:
    """A mapping of so many huge pages of eight base pages, all touched."""
    m = machine("linux-6", huge=HUGE, **options)
    for node in m.nodes:
        fill_pool(m, node, 4)
    task = spawn(m, "t", cpu=cpu)
    vma = mmap(m, task, blocks * HUGE, flags=VM.WRITE | flag)
    vma.expected = np.zeros(vma.pages, np.uint64)
    m.run(touch(m, task, task.leader, vma.start, np.arange(vma.pages, dtype=np.int64), write=True))
    check_at_rest(m)
    return m, task, vma


def move(m: Machine, task: Task, addresses: list[int], node: int, flags: int = 2) -> tuple[int, list[int]]:
    status = array("i", [-999]) * len(addresses)
    result = m.run(
        syscalls.move_pages(
            m, Caller(), task.pid, array("Q", addresses), array("i", [node]) * len(addresses), status, flags
        )
    )
    return result, list(status)


def migrate(m: Machine, task: Task, old: list[int], new: list[int]) -> int:
    return m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet(old).mask(), NodeSet(new).mask()))


def whole(m: Machine, vma: Vma) -> int:
    """Huge pages that the mapping has."""
    return int(np.count_nonzero(m.frames.flags[vma.pfns(np.arange(vma.pages))] & PG.COMPOUND)) // HUGE


def test_one_address_moves_a_transparent_huge_page_and_its_neighbour_stays() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 2)
    assert whole(m, vma) == 2
    assert move(m, task, [vma.start], 1) == (0, [1])
    assert nodes_of(m, vma) == [1] * HUGE + [0] * HUGE
    assert move(m, task, [vma.start + 11 * PAGE], 2) == (0, [2])
    assert nodes_of(m, vma) == [1] * HUGE + [2] * HUGE
    assert (m.counters["pgmigrate_success"], m.counters["thp_migration_success"]) == (16, 2)
    assert migrate(m, task, [1, 2], [3, 3]) == 0
    assert nodes_of(m, vma) == [3] * 16
    assert whole(m, vma) == 2
    check_at_rest(m)


def test_all_addresses_of_a_huge_page_in_one_call() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 1)
    result, status = move(m, task, [vma.start + index * PAGE for index in range(HUGE)], 2)
    assert result == 0
    assert status[0] == 2
    assert set(status[2:]) == {2}
    assert nodes_of(m, vma) == [2] * HUGE
    check_at_rest(m)


def test_without_a_free_block_it_is_split_and_its_pages_move() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 1, pages=256)
    m.frames.zones[3].wmark_min = m.frames.zones[3].wmark_low = 0
    taken = m.frames.alloc(256, 3, strict=True, here=3)
    m.frames.put(taken[::2])
    assert migrate(m, task, [0], [3]) == 0
    assert nodes_of(m, vma) == [3] * HUGE
    assert (whole(m, vma), m.counters["thp_migration_split"]) == (0, 1)
    m.frames.put(taken[1::2])
    check_at_rest(m)


def test_a_pin_on_one_page_keeps_the_whole_huge_page() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 2)
    pinned = int(vma.pfns(np.array([3]))[0])
    m.locks.get_page(pinned)
    assert migrate(m, task, [0], [3]) == 1
    assert nodes_of(m, vma) == [0] * HUGE + [3] * HUGE
    m.locks.put_page(pinned)
    assert migrate(m, task, [0], [3]) == 0
    check_at_rest(m)


@pytest.mark.parametrize("cut", ["dontneed", "mbind", "munmap"])
def test_what_takes_a_part_of_it_makes_ordinary_pages_of_the_rest(cut: str) -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 2)
    if cut == "dontneed":
        zap(m, vma, np.arange(3, dtype=np.int64))
    elif cut == "mbind":
        mask = NodeSet([2]).mask()
        m.run(mbind(m, Caller(0, True, task.pid), vma.start, 3 * PAGE, Mode.BIND, 65, mask, 2))
    else:
        m.run(fork(m, task))
        zap(m, vma, np.arange(3, dtype=np.int64))
        do_exit(m, task)
    check_at_rest(m)


def test_one_that_two_mappings_have_a_part_of_moves_whole() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 1)
    call, before = Caller(0, True, task.pid), m.frames.compounds

    def bind(first: int, count: int, node: int, flags: int) -> int:
        mask = NodeSet([node]).mask()
        at = vma.start + first * PAGE
        return m.run(mbind(m, call, at, count * PAGE, Mode.BIND, 65, mask, flags))

    assert bind(0, 3, 0, 0) == 0
    assert [len(one.pte) for one in vma.mm.vmas] == [3, HUGE - 3]
    assert move(m, task, [vma.start + PAGE], 2) == (0, [2])
    assert [nodes_of(m, one) for one in vma.mm.vmas] == [[2] * 3, [2] * (HUGE - 3)]
    assert m.frames.compounds == before
    check_at_rest(m)
    for first, count, node in ((0, 3, 3), (3, HUGE - 3, 1)):
        assert bind(first, count, node, 2) == 0
        assert [set(nodes_of(m, one)) for one in vma.mm.vmas] == [{node}, {node}]
    assert migrate(m, task, [1], [0]) == 0
    munmap(m, vma)
    assert m.frames.compounds == before - 1, "ordinary pages of the rest"
    check_at_rest(m)


@pytest.mark.parametrize("node", [0, 1, 2, 3])
def test_mbind_moves_a_huge_page_to_the_node_of_the_policy_from_wherever_the_task_runs(node: int) -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 1)
    mask = NodeSet([node]).mask()
    call = Caller(0, True, task.pid)
    m.run(mbind(m, call, vma.start, HUGE * PAGE, Mode.BIND, 65, mask, 2))
    assert nodes_of(m, vma) == [node] * HUGE
    assert whole(m, vma) == 1


def test_mbind_interleaves_huge_pages_whole() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 4)
    mask = NodeSet([1, 3]).mask()
    m.run(mbind(m, Caller(0, True, task.pid), vma.start, 4 * HUGE * PAGE, Mode.INTERLEAVE, 65, mask, 2))
    placed = nodes_of(m, vma)
    assert [len(set(placed[at : at + HUGE])) for at in range(0, 32, HUGE)] == [1] * 4
    assert sorted(placed) == [1] * 16 + [3] * 16
    assert whole(m, vma) == 4
    check_at_rest(m)


def test_shared_after_fork_it_moves_for_both_with_move_all_and_a_write_copies_one_page() -> None:
    m, task, vma = mapped(VM.HUGEPAGE, 1)
    child = m.run(fork(m, task))
    assert move(m, task, [vma.start], 1) == (0, [-13])
    assert move(m, task, [vma.start], 1, flags=4) == (0, [1])
    m.run(access(m, child, child.leader, vma.start + 2 * PAGE, write=True))
    assert m.counters["pgcow"] == 1
    check_at_rest(m)
    do_exit(m, task)
    check_at_rest(m)


def test_pages_of_the_pool_move_whole_and_the_pool_follows() -> None:
    m, task, vma = mapped(VM.HUGETLB, 2)

    def free() -> list[int]:
        return [len(zone.hugetlb_free) for zone in m.frames.zones.values()]

    assert free() == [2, 4, 4, 4]
    assert move(m, task, [vma.start, vma.start + HUGE * PAGE], 1) == (0, [1, 1])
    assert migrate(m, task, [1], [2]) == 0
    assert nodes_of(m, vma) == [2] * 16
    assert free() == [4, 4, 2, 4]
    assert "thp_migration_success" not in m.counters
    kernel = EmulatedKernel(m)
    line = kernel.read(f"/proc/{task.pid}/numa_maps").decode()
    assert "huge anon=2 dirty=2 N2=2 kernelpagesize_kB=32" in line
    check_at_rest(m)
    do_exit(m, task)
    assert free() == [4, 4, 4, 4]
    check_at_rest(m)


def test_where_the_pool_is_empty_a_page_of_it_takes_its_place_along() -> None:
    m, task, vma = mapped(VM.HUGETLB, 2)
    fill_pool(m, 3, 0)
    assert migrate(m, task, [0], [3]) == 0
    assert nodes_of(m, vma) == [3] * 16
    assert [zone.nr_hugepages for zone in m.frames.zones.values()] == [2, 4, 4, 2]
    check_at_rest(m)


def test_an_empty_pool_is_a_bus_error_and_a_cut_within_a_huge_page_is_refused() -> None:
    m, task, vma = mapped(VM.HUGETLB, 4)
    other = spawn(m, "greedy", cpu=0)
    more = mmap(m, other, 13 * HUGE, flags=VM.WRITE | VM.HUGETLB)
    with pytest.raises(BusError):
        m.run(touch(m, other, other.leader, more.start, np.arange(more.pages, dtype=np.int64), write=True))
    mask = NodeSet([1]).mask()
    with pytest.raises(OSError, match="Invalid"):
        m.run(mbind(m, Caller(0, True, task.pid), vma.start, 3 * PAGE, Mode.BIND, 65, mask, 0))
    zap(m, vma, np.arange(3, dtype=np.int64))
    assert nodes_of(m, vma)[:HUGE] == [-1] * HUGE
    check_at_rest(m)


def test_a_forked_page_of_the_pool_is_copied_whole() -> None:
    m, task, vma = mapped(VM.HUGETLB, 1)
    child = m.run(fork(m, task))
    m.run(access(m, child, child.leader, vma.start, write=True))
    assert len(m.frames.zones[0].hugetlb_free) == 2
    check_at_rest(m)


@pytest.mark.parametrize("flag", [VM.HUGEPAGE, VM.HUGETLB])
def test_a_pin_on_one_page_outlives_the_process(flag: VM) -> None:
    m, task, vma = mapped(flag, 2)
    pinned = int(vma.pfns(np.array([3]))[0])
    m.locks.get_page(pinned)
    do_exit(m, task)
    check_at_rest(m, pins=1)
    assert m.frames.state[pinned] == State.IN_USE
    m.locks.put_page(pinned)
    check_at_rest(m)
    assert len(m.frames.zones[0].hugetlb_free) == 4


def test_2_6_leaves_pages_of_the_pool_where_they_are() -> None:
    m = machine("direct-v8", huge=HUGE)
    fill_pool(m, 0, 2)
    task = spawn(m, "t", cpu=0)
    vma = mmap(m, task, HUGE, flags=VM.WRITE | VM.HUGETLB)
    m.run(touch(m, task, task.leader, vma.start, np.arange(HUGE, dtype=np.int64), write=True))
    assert migrate(m, task, [0], [3]) == 0
    assert nodes_of(m, vma) == [0] * HUGE
    check_at_rest(m)


@pytest.mark.parametrize("flag", [VM.HUGEPAGE, VM.HUGETLB])
def test_a_node_with_huge_pages_goes_offline_and_a_bad_frame_is_kept_out(flag: VM) -> None:
    m, _, vma = mapped(flag, 2)
    m.run(bad_page(m, int(vma.pfns(np.array([3]))[0])))
    check_at_rest(m)
    m.run(offline(m, 0))
    assert set(nodes_of(m, vma)).isdisjoint({0})
    check_at_rest(m)
    m.run(online(m, 0))
    check_at_rest(m)


def test_under_pressure_transparent_huge_pages_are_split_and_swapped() -> None:
    m = machine("linux-6", huge=HUGE, pages=64, nodes=2, swap_pages=300)
    task = spawn(m, "t", cpu=0)
    vma = mmap(m, task, 160, flags=VM.WRITE | VM.HUGEPAGE)
    vma.expected = np.zeros(160, np.uint64)
    m.run(touch(m, task, task.leader, vma.start, np.arange(160, dtype=np.int64), write=True))
    assert m.counters["pswpout"] > 0
    check_at_rest(m)
    for index in range(160):
        assert m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False)) == vma.expected[index]
    check_at_rest(m)


def test_pools_are_seen_and_set_in_sysfs() -> None:
    from backend.machine.topology import read_topology

    m, _, _ = mapped(VM.HUGETLB, 2)
    kernel = EmulatedKernel(m)
    base = "/sys/devices/system/node/node1/hugepages/hugepages-32kB"
    kernel.write(f"{base}/nr_hugepages", b"7\n")
    assert kernel.read(f"{base}/free_hugepages") == b"7\n"
    kernel.write(f"{base}/nr_hugepages", b"100000")
    assert 7 < int(kernel.read(f"{base}/nr_hugepages")) < 33, "as many as there is memory for"
    kernel.write(f"{base}/nr_hugepages", b"0")
    assert m.frames.zones[1].free == m.frames.zones[1].pages
    pools = [node.huge_pools[0] for node in read_topology(kernel).nodes]
    assert [(pool.total, pool.free) for pool in pools] == [(4, 2), (0, 0), (4, 4), (4, 4)]
    for path, data, number in (
        (f"{base}/nr_hugepages", b"many", 22),
        (f"{base}/free_hugepages", b"1", 13),
        (base.replace("32", "64") + "/nr_hugepages", b"1", 2),
    ):
        with pytest.raises(OSError) as caught:
            kernel.write(path, data)
        assert caught.value.errno == number
    check_at_rest(m)


def test_a_write_that_brings_in_a_huge_page_stores_nothing_through_a_pte_it_may_not_write_to() -> None:
    m = machine("linux-6", huge=HUGE)
    task = spawn(m, "t", cpu=0)
    vma = mmap(m, task, 2 * HUGE, flags=VM.WRITE | VM.HUGEPAGE)
    vma.expected = np.zeros(vma.pages, np.uint64)
    m.run(touch(m, task, task.leader, vma.start, np.arange(1, dtype=np.int64), write=True))
    child: Task = m.run(fork(m, task))
    assert child.mm is not None
    m.run(touch(m, task, task.leader, vma.start, np.array([HUGE - 1, HUGE]), write=True))
    check_at_rest(m)
    ours, theirs = (one.vmas[-1].pfns(np.array([HUGE - 1]))[0] for one in (vma.mm, child.mm))
    assert ours != theirs


def test_strict_takes_a_page_that_one_pmd_maps_for_moved_and_one_of_ptes_not() -> None:
    """A range that has a part of a huge page: queue_pages_pmd() queues it once; once the VMA is cut, each PTE is
    asked, and only the first can be isolated."""
    m, task, vma = mapped(VM.HUGEPAGE, 1)
    call = Caller(0, True, task.pid)

    def bind(node: int) -> int:
        mask = NodeSet([node]).mask()
        return m.run(mbind(m, call, vma.start, 5 * PAGE, Mode.BIND, 65, mask, 2 | 1))

    assert bind(3) == 0
    with pytest.raises(OSError) as caught:
        bind(1)
    assert caught.value.errno == errno.EIO
    assert {node for one in vma.mm.vmas for node in nodes_of(m, one)} == {1}, "it has moved nevertheless"
    check_at_rest(m)
