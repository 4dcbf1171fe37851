"""Direct migration step by step: what moves, what stays and why, what is left behind, in both mechanisms."""

from __future__ import annotations

import errno
from array import array

import numpy as np
import pytest

from backend.emulator import syscalls
from backend.emulator.fault import access
from backend.emulator.frames import PG
from backend.emulator.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.migration.direct import PASSES
from backend.emulator.mm import PTE_SWAP, VM
from backend.emulator.syscalls import Caller
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PROFILES = ["linux-6", "direct-v8"]


def migrate(m: Machine, pid: int, old: list[int], new: list[int], caller: Caller | None = None) -> int:
    return EmulatedKernel(m, caller).migrate_pages(pid, 65, NodeSet(old).mask(), NodeSet(new).mask())


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_keep_contents_addresses_and_relative_position(profile: str) -> None:
    m = machine(profile)
    task = m.spawn("t", cpu=0)
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
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 20})
    assert migrate(m, task.pid, [0], [1]) == 0
    assert m.swap.used == 0
    assert not (vma.pte & PTE_SWAP).any()
    check_at_rest(m)


def test_direct_migration_needs_swap_slots_but_linux_6_does_not() -> None:
    for profile, left in (("direct-v8", 20), ("linux-6", 0)):
        m = machine(profile, swap_pages=0)
        task = m.spawn("t", cpu=0)
        vma = region(m, task, {0: 20})
        assert migrate(m, task.pid, [0], [1]) == left
        assert nodes_of(m, vma) == [0 if left else 1] * 20
        check_at_rest(m)


def test_fewer_slots_than_pages_move_chunk_by_chunk() -> None:
    m = machine("direct-v8", pages=1024, swap_pages=300)
    task = m.spawn("t", cpu=0)
    region(m, task, {0: 700})
    assert migrate(m, task.pid, [0], [1]) == 0, "a chunk of 256 gives its slots back before the next"
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_pinned_page_is_tried_in_every_pass_and_stays(profile: str) -> None:
    m = machine(profile)
    task = m.spawn("t", cpu=0)
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
    task = m.spawn("t", cpu=0)
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
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 200})
    other = m.spawn("hog", cpu=2)
    region(m, other, {1: 150})
    room = m.frames.zones[1].free - m.frames.zones[1].wmark_min
    with pytest.raises(OSError) as caught:
        migrate(m, task.pid, [0], [1])
    assert caught.value.errno == errno.ENOMEM
    assert nodes_of(m, vma).count(1) == room
    check_at_rest(m)


def test_a_full_target_makes_direct_v8_fall_back_to_the_next_node() -> None:
    m = machine("direct-v8", pages=256, swap_pages=400)
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 200})
    region(m, m.spawn("hog", cpu=2), {1: 150})
    assert migrate(m, task.pid, [0], [1]) == 0
    landed = nodes_of(m, vma)
    assert -1 not in landed
    assert 1 in landed
    assert set(landed) - {1}
    check_at_rest(m)


@pytest.mark.parametrize("flag", [VM.IO, VM.RESERVED])
def test_io_and_reserved_mappings_never_move(flag: VM) -> None:
    m = machine()
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 4}, flags=VM.WRITE | flag)
    assert migrate(m, task.pid, [0], [1]) == 0
    assert nodes_of(m, vma) == [0] * 4


def test_locked_mappings_move_under_linux_6_only() -> None:
    for profile, lands in (("linux-6", 1), ("direct-v8", 0)):
        m = machine(profile)
        task = m.spawn("t", cpu=0)
        vma = region(m, task, {0: 4}, flags=VM.WRITE | VM.LOCKED)
        migrate(m, task.pid, [0], [1])
        assert nodes_of(m, vma) == [lands] * 4


@pytest.mark.parametrize("profile", PROFILES)
def test_a_process_that_exits_in_mid_migration_loses_no_frame(profile: str) -> None:
    m = machine(profile, batch=1)
    task = m.spawn("t", cpu=0)
    free = m.frames.zones[0].free
    vma = region(m, task, {0: 30})
    path = syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    moving = m.env.process(path)
    while nodes_of(m, vma).count(1) < 10:
        m.env.step()
    m.exit(task)
    m.env.run(until=moving)
    assert m.frames.zones[0].free == free
    assert all(zone.free == zone.pages for zone in m.frames.zones.values())
    check_at_rest(m)


def test_active_pages_stay_active() -> None:
    m = machine("direct-v8")
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 4})
    assert vma.nr_active == 4
    migrate(m, task.pid, [0], [2])
    assert vma.nr_active == 4
    assert ((m.frames.flags[vma.pfns(np.arange(4))] & PG.ACTIVE) != 0).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_run(profile: str) -> None:
    from backend.emulator.run import run_scenario
    from backend.emulator.scenarios import load

    assert run_scenario(load("scheduler-moves"), seed=7) == run_scenario(load("scheduler-moves"), seed=7)


class TestMovePages:
    def kernel(self) -> tuple[EmulatedKernel, Machine, int, int]:
        m = machine("linux-6")
        task = m.spawn("t", cpu=0)
        vma = region(m, task, {0: 8}, pages=12)
        return EmulatedKernel(m), m, task.pid, vma.start

    def call(
        self, kernel: EmulatedKernel, pid: int, pages: list[int], nodes: list[int] | None, flags: int = 2
    ) -> tuple[int | str, list[int]]:
        status = array("i", [-999]) * len(pages)
        targets = None if nodes is None else array("i", nodes)
        try:
            return kernel.move_pages(pid, array("Q", pages), targets, status, flags), list(status)
        except OSError as exc:
            return errno.errorcode[exc.errno or 0], list(status)

    def test_query_tells_nodes_and_errors(self) -> None:
        kernel, _, pid, start = self.kernel()
        pages = [start, start + 5, start + 9 * 4096, 0x1000]
        assert self.call(kernel, pid, pages, None) == (0, [0, 0, -errno.EFAULT, -errno.EFAULT])

    def test_moves_and_answers_the_target_also_when_already_there(self) -> None:
        kernel, _, pid, start = self.kernel()
        pages = [start + n * 4096 for n in range(4)]
        assert self.call(kernel, pid, pages, [2] * 4) == (0, [2] * 4)
        assert self.call(kernel, pid, pages, [2] * 4) == (0, [2] * 4)

    def test_nothing_asked_nothing_done(self) -> None:
        kernel, _, pid, _ = self.kernel()
        assert self.call(kernel, pid, [], []) == (0, [])

    @pytest.mark.parametrize("bad", [7, -1, 5000])
    def test_a_bad_third_target_fails_the_call_after_moving_the_first_two(self, bad: int) -> None:
        kernel, _, pid, start = self.kernel()
        pages = [start + n * 4096 for n in range(8)]
        result = self.call(kernel, pid, pages, [1, 1, bad, 1, 1, 1, 1, 1])
        assert result == ("ENODEV", [1, 1, *[-999] * 6])
        assert self.call(kernel, pid, pages, None)[1] == [1, 1, 0, 0, 0, 0, 0, 0]

    def test_pinned_pages_are_counted_and_their_statuses_untouched(self) -> None:
        kernel, m, pid, start = self.kernel()
        vma = m.tasks[pid].mm.vmas[0]
        for index in range(4):
            m.locks.get_page(int(vma.pfns(np.array([index]))[0]))
        result = self.call(kernel, pid, [start + n * 4096 for n in range(4)], [1] * 4)
        assert result == (4, [-999] * 4)

    @pytest.mark.parametrize(("flags", "error"), [(1, "EINVAL"), (8, "EINVAL")])
    def test_strict_and_unknown_flags_are_refused(self, flags: int, error: str) -> None:
        kernel, _, pid, start = self.kernel()
        assert self.call(kernel, pid, [start], [1], flags)[0] == error

    def test_no_such_process_and_kernel_threads(self) -> None:
        kernel, m, _, start = self.kernel()
        thread = m.spawn("kswapd0", cpu=0, kernel_thread=True)
        assert self.call(kernel, 4711, [start], [1])[0] == "ESRCH"
        assert self.call(kernel, thread.pid, [start], [1])[0] == "EINVAL"

    def test_other_users_and_move_all_need_privilege(self) -> None:
        _, m, pid, start = self.kernel()
        m.tasks[pid].uid = 1000
        own, other = EmulatedKernel(m, Caller(1000, False)), EmulatedKernel(m, Caller(1001, False))
        assert self.call(own, pid, [start], [1])[0] == 0
        assert self.call(other, pid, [start], [1])[0] == "EPERM"
        assert self.call(own, pid, [start], [1], 4)[0] == "EPERM"

    def test_direct_v8_has_no_move_pages(self) -> None:
        m = machine("direct-v8")
        task = m.spawn("t", cpu=0)
        assert self.call(EmulatedKernel(m), task.pid, [0], [1])[0] == "ENOSYS"


class TestMigratePagesArguments:
    @pytest.mark.parametrize(
        ("pid", "maxnode", "old", "new", "error"),
        [
            (4711, 65, [0], [1], "ESRCH"), (-1, 65, [0], [1], "ESRCH"), (2, 65, [0], [1], "EINVAL"),
            (1, 65, [0], [], "EINVAL"), (1, 65, [], [1], None), (1, 65, [0], [7], "EINVAL"), (1, 65, [0], [1, 7], None),
            (1, 65, [7], [1], None), (1, 0, [0], [0], "EINVAL"), (1, 1, [0], [0], "EINVAL"), (1, 2, [0], [0], None),
            (1, 32770, [0], [0], "EINVAL"),
        ],
    )  # fmt: skip
    def test_as_measured(
        self, pid: int, maxnode: int, old: list[int], new: list[int], error: str | None
    ) -> None:
        m = machine()
        m.spawn("t", cpu=0)
        m.spawn("kthreadd", cpu=0, kernel_thread=True)
        kernel = EmulatedKernel(m)
        got = None
        try:
            assert kernel.migrate_pages(pid, maxnode, NodeSet(old).mask(), NodeSet(new).mask()) == 0
        except OSError as exc:
            got = errno.errorcode[exc.errno or 0]
        assert got == error

    def test_only_the_owner_and_the_privileged_may(self) -> None:
        m = machine()
        task = m.spawn("t", cpu=0, uid=1000)
        region(m, task, {0: 1})
        assert migrate(m, task.pid, [0], [1], Caller(1000, False)) == 0
        with pytest.raises(PermissionError):
            migrate(m, task.pid, [1], [0], Caller(1001, False))
