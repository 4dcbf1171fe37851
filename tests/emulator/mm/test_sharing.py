"""Memory that several processes map: fork and copy on write, in the middle of migrations too; locked memory."""

# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fault import OutOfMemory, access
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mlock import mlock, munlock
from backend.emulator.mm.mm import PTE_SWAP
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_numa_maps
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PROFILES = ["linux-6", "direct-v8"]
PAGE = 4096


def family(profile: str = "linux-6", layout: dict[int, int] | None = None, **options):
    m = machine(profile, **options)
    parent = spawn(m, "parent", cpu=0)
    vma = region(m, parent, layout or {0: 8})
    child = m.run(fork(m, parent, "child"))
    return m, parent, vma, child, child.mm.vmas[0]


def call(m, pid: int, old: list[int], new: list[int], caller: Caller | None = None) -> int:
    return EmulatedKernel(m, caller).migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask())


def test_a_child_shares_all_pages_until_one_of_them_writes() -> None:
    m, parent, mine, child, theirs = family()
    free = sum(zone.free for zone in m.frames.zones.values())
    for index in range(8):
        address = mine.start + index * PAGE
        assert m.run(access(m, child, child.leader, address, write=False)) == mine.expected[index]
    assert sum(zone.free for zone in m.frames.zones.values()) == free
    before = int(mine.expected[3])
    m.run(access(m, child, child.leader, mine.start + 3 * PAGE, write=True))
    assert m.run(access(m, parent, parent.leader, mine.start + 3 * PAGE, write=False)) == before
    assert m.counters["pgcow"] == 1
    assert theirs.expected[3] != before
    m.run(access(m, parent, parent.leader, mine.start + 3 * PAGE, write=True))
    assert m.counters["pgcow"] == 1, "the last one reuses the page"
    check_at_rest(m)


def test_numa_maps_tells_the_most_mappings() -> None:
    m, parent, _, child, _ = family()
    kernel = EmulatedKernel(m)
    (line,) = parse_numa_maps(kernel.read(f"/proc/{parent.pid}/numa_maps"))
    assert line.mapmax == 2
    do_exit(m, child)
    (line,) = parse_numa_maps(kernel.read(f"/proc/{parent.pid}/numa_maps"))
    assert line.mapmax == 1
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_shared_pages_stay_for_the_unprivileged_and_move_for_both_with_move_all(profile: str) -> None:
    m, parent, mine, child, theirs = family(profile)
    assert call(m, parent.pid, [0], [2], Caller(0, False)) == 0
    assert nodes_of(m, mine) == [0] * 8
    assert call(m, child.pid, [0], [3]) == 0
    assert nodes_of(m, mine) == nodes_of(m, theirs) == [3] * 8
    assert not (mine.pte & PTE_SWAP).any()
    assert m.swap.used == 0
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("steps", range(1, 9))
def test_fork_and_writes_between_any_two_steps_of_a_migration_lose_nothing(profile: str, steps: int) -> None:
    m = machine(profile, batch=2)
    parent = spawn(m, "parent", cpu=0, threads=[2])
    vma = region(m, parent, {0: 6})
    moving = m.env.process(
        syscalls.migrate_pages(m, Caller(), parent.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    )
    while not (vma.pte & 0x30).any():
        m.env.step()
    for _ in range(steps):
        m.env.step()
        check(m)
    m.env.process(fork(m, parent))
    writing = m.env.process(access(m, parent, parent.threads[1], vma.start + PAGE, write=True))
    while m.env.peek() != float("inf"):
        m.env.step()
        check(m)
    assert moving.processed
    assert writing.processed
    child = m.tasks[max(m.tasks)]
    for index in range(6):
        for task, mapping in ((parent, vma), (child, child.mm.vmas[0])):
            assert m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False)) == mapping.expected[index]
    check_at_rest(m)


def test_a_copy_for_which_there_is_no_room_kills_the_writer_and_forgets_no_reference() -> None:
    m, _, mine, child, _ = family(pages=64, swap_pages=0)
    for node, zone in m.frames.zones.items():
        if room := zone.free - zone.wmark_min:
            region(m, child, {node: room})
    with pytest.raises(OutOfMemory):
        m.run(access(m, child, child.leader, mine.start, write=True))
    assert child.exited == "out of memory"
    check_at_rest(m)


def test_a_family_exits_in_any_order_and_leaves_nothing() -> None:
    for first in (0, 1):
        m, parent, _, child, _ = family("direct-v8")
        grandchild = m.run(fork(m, child))
        order = [parent, child, grandchild] if first else [grandchild, parent, child]
        for task in order:
            do_exit(m, task)
            check(m)
        assert all(zone.free == zone.pages for zone in m.frames.zones.values())
        check_at_rest(m)


def test_locked_pages_are_brought_in_and_say_so() -> None:
    m = machine("linux-6")
    task = spawn(m, "t", cpu=4)
    vma = region(m, task, {}, pages=8)
    m.run(mlock(m, task, vma.start, 8))
    kernel = EmulatedKernel(m)
    assert (
        kernel.read(f"/proc/{task.pid}/numa_maps").decode()
        == f"{vma.start:x} default anon=8 dirty=8 N2=8 kernelpagesize_kB=4\n"
    )
    assert call(m, task.pid, [2], [1]) == 0
    assert (
        kernel.read(f"/proc/{task.pid}/numa_maps").decode()
        == f"{vma.start:x} default anon=8 dirty=8 N1=8 kernelpagesize_kB=4\n"
    )
    m.run(munlock(m, task, vma.start, 8))
    assert b"active=0" in kernel.read(f"/proc/{task.pid}/numa_maps")
    check_at_rest(m)


def test_locking_a_part_cuts_the_mapping_and_holes_are_refused() -> None:
    m = machine("direct-v8")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 8})
    m.run(mlock(m, task, vma.start + 2 * PAGE, 3))
    assert len(task.mm.vmas) == 3
    call(m, task.pid, [0], [1])
    assert [node for part in task.mm.vmas for node in nodes_of(m, part)] == [1, 1, 0, 0, 0, 1, 1, 1]
    with pytest.raises(OSError, match="memory"):
        m.run(mlock(m, task, vma.start + 6 * PAGE, 5))
    m.run(munlock(m, task, vma.start, 8))
    assert len(task.mm.vmas) == 1
    check_at_rest(m)


def test_fork_in_a_scenario() -> None:
    text = """
machine: {nodes: [{id: 0, memory: 8MiB, cpus: 0}, {id: 1, memory: 8MiB, cpus: 1}]}
processes: [{name: a, node: 0, memory: [{name: r, size: 64KiB}]}]
steps:
  - {at: 1s, fork: {task: a, child: b}}
  - {at: 2s, touch: {task: b, region: r, pages: 0-3}}
  - {at: 3s, migrate_pages: {task: b, from: 0, to: 1, as: 1000}}
  - {at: 4s, exit: {task: a}}
"""
    report = run_scenario(parse_description(text))
    assert [step["errno"] for step in report["steps"]] == [None, None, "EPERM", None]
    assert report["steps"][0]["result"] == report["tasks"]["b"]["pid"]
    assert report["tasks"]["b"]["vmas"][0]["nodes"] == {"0": 16}
    assert report["counters"]["pgcow"] == 4
    assert np.isclose(report["steps"][3]["at"], 4)
