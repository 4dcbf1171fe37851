"""What the Linux Test Project asserts of these system calls, as tests of our own against the emulated linux-6.

LTP passes raw pointers; the seam passes masks and arrays as bytes, so what LTP asserts of invalid pointers has no
counterpart.
"""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import contextlib
import re
from array import array
from collections import Counter

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames.page import State
from backend.emulator.frames.page_lock import Events
from backend.emulator.migration.hotplug import bad_page
from backend.emulator.mm.fault import touch
from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.ksm import merge
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.profile import PROFILES
from backend.emulator.tasks.credentials import Caller
from backend.kernel import Mode
from backend.nodeset import NodeSet
from tests.emulator import files
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import write_equal
from tests.emulator.rig import PAGE, UNTOUCHED, Me, answer, status_word

MOVE, MOVE_ALL, STRICT = 2, 4, 1
CALLS = {"migrate_pages": 3, "move_pages": 12, "mbind": 4, "set_mempolicy": 5, "get_mempolicy": 2}
LEFT_OUT = {
    "move_pages08": "more pages than the array holds; E2BIG is gone since 2.6.29",
    "set_mempolicy05": "an invalid pointer in the 32-bit call",
}
FILESYSTEMS = sorted(PROFILES["linux-6"].filesystem_types)
ON_ONE_NODE = [Mode.PREFERRED, Mode.BIND, Mode.INTERLEAVE]


def shared_by_mmap(me: Me, node: int, pages: int = 1) -> Vma:
    """MAP_SHARED memory, written to, on a node."""
    vma = files.mapped(me.m, me.task, files.shared_memory(me.m, pages))
    me.touch(vma)
    assert me.move(me.addresses(vma), node, MOVE) == [0, [node] * pages]
    return vma


def test_every_ltp_test_is_here_or_left_out_for_a_reason() -> None:
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    named = {name for test in tests for name in re.findall(r"\b[a-z_]+\d\d\b", test.__doc__ or "")}
    names = {f"{call}{number:02}" for call, count in CALLS.items() for number in range(1, count + 1)}
    assert named | set(LEFT_OUT) == names
    assert not named & set(LEFT_OUT)


# migrate_pages


def test_migrating_between_the_same_nodes_is_fine() -> None:
    """migrate_pages01: test_sane_nodes."""
    assert Me().migrate([0], [0]) == 0


@pytest.mark.parametrize(
    ("pid", "maxnode", "new", "error"),
    [
        (-1, 65, [0], "-ESRCH"),
        ((1 << 22) + 1, 65, [0], "-ESRCH"),
        (None, -1, [0], "-EINVAL"),
        (None, 65, [5], "-EINVAL"),
    ],
)
def test_migrate_pages_refuses_what_is_not_there(pid: int | None, maxnode: int, new: list[int], error: str) -> None:
    """migrate_pages01: test_invalid_pid, test_invalid_masksize, test_invalid_nodes."""
    me = Me()
    me.region({0: 2})
    assert me.migrate([0], new, pid=pid, maxnode=maxnode) == error
    assert me.where(me.vma) == [0, 0]


def test_nobody_may_not_migrate_another_users_process() -> None:
    """migrate_pages01: test_invalid_perm."""
    parent = Me()
    child = parent.fork(privileged=False)
    assert child.migrate([0], [0], pid=parent.task.pid) == "-EPERM"


@pytest.mark.parametrize("nice", [True, False])
def test_a_process_migrates_its_own_private_memory_to_and_fro(nice: bool) -> None:
    """migrate_pages02: test_migrate_current_process, with and without CAP_SYS_NICE."""
    me = Me(privileged=nice)
    vma = me.region({0: 1})
    for node in (1, 0):
        assert me.migrate([0, 1, 2, 3], [node]) == 0
        assert me.get(vma.start, 3) == [0, node, []]
    check_at_rest(me.m)


@pytest.mark.parametrize("nice", [True, False])
def test_shared_memory_moves_with_cap_sys_nice_only(nice: bool) -> None:
    """migrate_pages02: the shared part of test_migrate_current_process: the parent alone moves it, the child moves it
    with CAP_SYS_NICE only, and its own memory in any case."""
    parent = Me(privileged=nice)
    shared = shared_by_mmap(parent, 0)
    assert parent.migrate([0, 1, 2, 3], [1]) == 0
    assert parent.get(shared.start, 3) == [0, 1, []]
    child = parent.fork(privileged=nice)
    private = child.region({1: 1})
    same = next(vma for vma in child.task.mm.vmas if vma.start == shared.start)
    child.touch(same)
    assert child.migrate([0, 1, 2, 3], [0]) == 0
    assert child.get(private.start, 3) == [0, 0, []]
    assert parent.get(shared.start, 3) == [0, 0 if nice else 1, []]
    check_at_rest(parent.m)


@pytest.mark.parametrize("nice", [True, False])
def test_pages_shared_by_fork_move_with_cap_sys_nice_only(nice: bool) -> None:
    """migrate_pages02, with what a fork shares."""
    parent = Me()
    shared = parent.region({1: 1})
    child = parent.fork(privileged=nice)
    private = child.region({1: 1})
    assert child.migrate([0, 1, 2, 3], [0]) == 0
    assert child.where(private) == [0]
    assert parent.where(shared) == [0 if nice else 1]
    check_at_rest(parent.m)


@pytest.mark.parametrize("nice", [True, False])
def test_another_process_of_the_same_user_can_be_migrated(nice: bool) -> None:
    """migrate_pages02: test_migrate_other_process: by the same user, and by root."""
    victim = Me(privileged=False)
    vma = victim.region({0: 1})
    mover = Me(privileged=nice, m=victim.m)
    assert mover.migrate([0, 1, 2, 3], [1], pid=victim.task.pid) == 0
    assert victim.where(vma) == [1]


# move_pages


def test_move_pages_without_nodes_tells_where_pages_are() -> None:
    """move_pages01."""
    me = Me()
    assert me.where(me.region({1: 1, 0: 1, 2: 1})) == [1, 0, 2]


def test_pages_move_from_one_node_to_another() -> None:
    """move_pages02: they are written to, and asked for again."""
    me = Me()
    vma = me.region({0: 2})
    assert me.move(me.addresses(vma), 1, MOVE) == [0, [1, 1]]
    assert me.touch(vma) == [1, 1]
    assert me.where(vma) == [1, 1]
    check_at_rest(me.m)


def test_shared_pages_move_for_everybody_with_move_all() -> None:
    """move_pages03."""
    me = Me()
    vma = shared_by_mmap(me, 0, pages=2)
    child = me.fork()
    child.touch(child.vma)
    assert me.move(me.addresses(vma), 1, MOVE_ALL) == [0, [1, 1]]
    assert me.where(vma) == child.where(child.vma) == [1, 1]
    check_at_rest(me.m)


def test_pages_shared_by_fork_move_for_everybody_with_move_all() -> None:
    """move_pages03, with what a fork shares."""
    me = Me()
    vma = me.region({0: 2})
    child = me.fork()
    assert me.move(me.addresses(vma), 1, MOVE_ALL) == [0, [1, 1]]
    assert child.where(child.vma) == [1, 1]


def test_pages_that_are_not_there_get_a_status_and_the_others_move() -> None:
    """move_pages04: an untouched page, an address that is not mapped, the zero page. LTP asked for -ENOENT of old
    kernels; the measured one says -EFAULT."""
    me = Me()
    vma = me.region({0: 1}, pages=3)
    me.touch(vma, count=1, first=2, write=False)
    touched, untouched, zero = me.addresses(vma)
    result = me.move([touched, untouched, vma.end + 0x1000, zero], 1, MOVE)
    assert result == [0, [1, "-EFAULT", "-EFAULT", "-EFAULT"]]


def test_shared_pages_are_refused_one_by_one_without_move_all() -> None:
    """move_pages05: a shared page, and one that a child has copied, in the same call."""
    me = Me()
    shared, own = shared_by_mmap(me, 0), me.region({0: 1})
    child = me.fork()
    for vma in child.task.mm.vmas:
        child.touch(vma)
    assert me.move([shared.start, own.start], 1, MOVE) == [0, ["-EACCES", 1]]
    assert me.where(shared) + me.where(own) == [0, 1]
    check_at_rest(me.m)


def test_pages_shared_by_fork_are_refused_one_by_one_without_move_all() -> None:
    """move_pages05, with what a fork shares."""
    me = Me()
    shared = me.region({0: 1})
    me.fork()
    own = me.region({0: 1})
    assert me.move([shared.start, own.start], 1, MOVE) == [0, ["-EACCES", 1]]
    assert me.where(shared) + me.where(own) == [0, 1]


@pytest.mark.parametrize("node", [4, 1024])
def test_a_node_that_does_not_exist_fails_the_call(node: int) -> None:
    """move_pages06: the first node that the machine does not have, and one that no machine has."""
    me = Me()
    assert me.move(me.addresses(me.region({0: 2})), node)[0] == "-ENODEV"
    assert me.where(me.vma) == [0, 0]


def test_a_process_that_does_not_exist_fails_the_call() -> None:
    """move_pages07."""
    me = Me()
    assert me.move(me.addresses(me.region({0: 2})), 1, pid=1 << 22)[0] == "-ESRCH"


def test_pages_that_are_there_already_are_no_failure() -> None:
    """move_pages09."""
    me = Me()
    assert me.move(me.addresses(me.region({0: 2})), 0, MOVE) == [0, [0, 0]]


@pytest.mark.parametrize("flags", [STRICT, STRICT | MOVE, 8])
def test_flags_of_other_calls_are_refused(flags: int) -> None:
    """move_pages10."""
    me = Me()
    assert me.move(me.addresses(me.region({0: 2})), 1, flags)[0] == "-EINVAL"
    assert me.where(me.vma) == [0, 0]


def test_move_all_is_for_the_privileged() -> None:
    """move_pages11."""
    me = Me(privileged=False)
    vma = shared_by_mmap(me, 0, pages=2)
    child = me.fork(privileged=False)
    child.touch(child.vma)
    assert me.move(me.addresses(vma), 1, MOVE_ALL)[0] == "-EPERM"
    assert me.where(vma) == [0, 0]


# mbind

ARGUMENTS = [
    (Mode.DEFAULT, [], 0, [0, []]), (Mode.DEFAULT, [0], "-EINVAL", None), (Mode.BIND, [], "-EINVAL", None),
    (Mode.BIND, [0], 0, [2, [0]]), (Mode.INTERLEAVE, [], "-EINVAL", None), (Mode.INTERLEAVE, [0], 0, [3, [0]]),
    (Mode.PREFERRED, [], 0, [4, []]), (Mode.PREFERRED, [0], 0, [1, [0]]), (-1, [], "-EINVAL", None),
    (Mode.LOCAL, [], 0, [4, []]), (Mode.LOCAL, [0], "-EINVAL", None),
]  # fmt: skip
"""Preferring nothing reads back as local since 5.14."""


@pytest.mark.parametrize(("mode", "nodes", "result", "policy"), ARGUMENTS)
def test_mbind_takes_these_modes_and_get_mempolicy_tells_them(
    mode: int, nodes: list[int], result: int | str, policy: list[object] | None
) -> None:
    """mbind01, and get_mempolicy01 with MPOL_F_ADDR."""
    me = Me()
    vma = me.region(pages=4)
    mask, maxnode = (b"\1" + bytes(7), 65) if nodes else (b"", 0)
    length = vma.end - vma.start
    assert answer(lambda: me.kernel.mbind(vma.start, length, mode, mask, maxnode, 0)) == result
    assert me.get(vma.start, 2) == [0, *(policy or [0, []])]


def test_mbind_refuses_unknown_flags() -> None:
    """mbind01: invalid flags."""
    me = Me()
    assert me.mbind(me.region(pages=4), Mode.DEFAULT, [], -1) == "-EINVAL"


@pytest.mark.parametrize("mode", ON_ONE_NODE)
def test_strict_finds_a_page_on_another_node(mode: int) -> None:
    """mbind02."""
    me = Me()
    vma = me.region(pages=1)
    assert me.touch(vma) == [0]
    assert me.mbind(vma, mode, [1], STRICT) == "-EIO"
    assert me.where(vma) == [0]


@pytest.mark.parametrize("flag", [MOVE, MOVE_ALL])
@pytest.mark.parametrize("mode", ON_ONE_NODE)
def test_mbind_moves_a_page_that_is_there(mode: int, flag: int) -> None:
    """mbind03."""
    me = Me()
    vma = me.region(pages=1)
    me.touch(vma)
    assert me.mbind(vma, mode, [1], flag) == 0
    assert me.where(vma) == [1]
    check_at_rest(me.m)


@pytest.mark.parametrize("node", range(4))
@pytest.mark.parametrize("flag", [0, STRICT])
@pytest.mark.parametrize("mode", ON_ONE_NODE)
def test_memory_comes_from_the_bound_node_for_parent_and_child(mode: int, flag: int, node: int) -> None:
    """mbind04."""
    me = Me(cpu=2)
    vma = me.region(pages=16)
    assert me.mbind(vma, mode, [node], flag) == 0
    child = me.fork()
    assert child.touch(child.vma) == [node] * 16
    assert me.touch(vma) == [node] * 16


# set_mempolicy and get_mempolicy


@pytest.mark.parametrize("node", range(4))
@pytest.mark.parametrize("mode", [Mode.BIND, Mode.PREFERRED])
def test_memory_comes_from_the_node_of_the_task_policy_for_parent_and_child(mode: int, node: int) -> None:
    """set_mempolicy01."""
    me = Me(cpu=2)
    assert me.set(mode, [node]) == 0
    child = me.fork()
    assert child.touch(child.region(pages=16)) == [node] * 16
    assert me.touch(me.region(pages=16)) == [node] * 16


@pytest.mark.parametrize(("nodes", "each"), [([0, 1, 2, 3], 2), ([0, 1], 8)])
def test_interleaved_memory_is_spread_evenly_for_parent_and_child(nodes: list[int], each: int) -> None:
    """set_mempolicy02."""
    me = Me()
    assert me.set(Mode.INTERLEAVE, nodes) == 0
    child = me.fork()
    for one in (child, me):
        assert sorted(one.touch(one.region(pages=each * len(nodes)))) == sorted(nodes * each)


@pytest.mark.parametrize(("mode", "nodes", "result", "policy"), ARGUMENTS)
def test_get_mempolicy_tells_the_task_policy(
    mode: int, nodes: list[int], result: int | str, policy: list[object] | None
) -> None:
    """get_mempolicy01 without flags."""
    me = Me()
    mask, maxnode = (b"\1" + bytes(7), 65) if nodes else (b"", 0)
    assert answer(lambda: me.kernel.set_mempolicy(mode, mask, maxnode)) == result
    assert me.get() == [0, *(policy or [0, []])]


@pytest.mark.parametrize(("flags", "error"), [(2, "-EFAULT"), (-1, "-EINVAL")])
def test_get_mempolicy_refuses_an_address_that_is_not_mapped_and_unknown_flags(flags: int, error: str) -> None:
    """get_mempolicy02."""
    assert Me().get(0, flags)[0] == error


# Merged, huge and file pages


def test_merged_pages_migrate_back_and_forth_and_stay_whole() -> None:
    """migrate_pages03: a user migrates KSM pages again and again: 600 rounds, 20 VMAs of a page each, bound to a node
    before they were merged."""
    me = Me(privileged=False)
    vmas = [me.region(pages=1) for _ in range(20)]
    one = np.zeros(1, np.int64)
    for vma in vmas:
        assert me.mbind(vma, Mode.BIND, [0]) == 0
        me.touch(vma)
        write_equal(me.m, vma, one, 97)
    for vma in vmas:
        me.m.run(merge(me.m, me.task, vma.start, one))
    assert len({int(vma.pfns(one)[0]) for vma in vmas}) == 1
    for turn in range(600):
        assert me.migrate([turn % 2], [1 - turn % 2]) == 0
    # Mapped 20 times: it is not this user's to move, even where all of the PTEs are.
    assert [me.where(vma) for vma in vmas] == [[0]] * 20
    check_at_rest(me.m)


def test_merged_pages_migrate_back_and_forth_for_root() -> None:
    """migrate_pages03, where pages move in each round."""
    me = Me()
    vma = me.region({0: 32})
    index = np.arange(32, dtype=np.int64)
    write_equal(me.m, vma, index, 97)
    me.m.run(merge(me.m, me.task, vma.start, index))
    for turn in range(20):
        assert me.migrate([turn % 2], [1 - turn % 2]) == 0
        assert me.where(vma) == [1 - turn % 2] * 32
    check_at_rest(me.m)


def test_huge_pages_move_while_they_are_mapped_unmapped_and_go_out_of_use() -> None:
    """move_pages12: a child moves the parent's two huge pages with MOVE_ALL, again and again, while the parent maps,
    writes and unmaps them, and while their frames are taken out of use (madvise MADV_SOFT_OFFLINE)."""
    parent = Me(huge=8)
    m = parent.m
    for node in (0, 1):
        fill_pool(m, node, 12)
    child = parent.fork()
    caller = Caller(0, True, child.task.pid)
    address = 1 << 45
    moved: list[int] = []
    cycles = 200

    def move() -> Events:
        while cycles:
            node = len(moved) % 2
            status = array("i", [UNTOUCHED]) * 16
            where = array("Q", range(address, address + 16 * PAGE, PAGE))
            failed = yield from syscalls.move_pages(
                m, caller, parent.task.pid, where, array("i", [node]) * 16, status, MOVE_ALL
            )
            assert failed >= 0
            # -EACCES: the tail of a huge page.
            assert set(map(status_word, status)) <= {node, "-EACCES", "-EBUSY", "-EFAULT", "-ENOENT", None}
            moved.append(list(status).count(node))

    def cycle() -> Events:
        nonlocal cycles
        while cycles:
            cycles -= 1
            vma = mmap(m, parent.task, 16, flags=VM.WRITE | VM.HUGETLB, at=address)
            vma.expected = np.zeros(16, np.uint64)
            yield from touch(m, parent.task, parent.task.leader, address, np.arange(16, dtype=np.int64), write=True)
            if cycles % 20 == 0:
                with contextlib.suppress(OSError):
                    yield from bad_page(m, int(vma.pfns(np.array([0]))[0]))
            yield from m.step("user", cycles % 7 * 20e-6)
            yield from parent.task.mm.lock.down_write(m.env)
            munmap(m, vma)
            parent.task.mm.lock.up_write()

    m.env.process(move())
    m.run(cycle())
    assert len(moved) > 50
    assert sum(moved) > 50
    assert m.frames.bad
    check_at_rest(m)


def test_huge_pages_move_while_their_frames_go_out_of_use() -> None:
    """move_pages12: moving hugetlb pages between nodes and soft offlining them at the same time."""
    me = Me(huge=8)
    for node in (0, 1):
        fill_pool(me.m, node, 6)
    vma = mmap(me.m, me.task, 16, flags=VM.WRITE | VM.HUGETLB)
    vma.expected = np.zeros(16, np.uint64)
    me.touch(vma)
    for turn in range(4):
        moving = syscalls.migrate_pages(
            me.m, Caller(), me.task.pid, 65, NodeSet([turn % 2]).mask(), NodeSet([1 - turn % 2]).mask()
        )
        me.m.env.process(moving)
        victim = int(vma.pfns(np.array([turn]))[0])

        def soft_offline(pfn: int) -> Events:
            with contextlib.suppress(OSError):
                yield from bad_page(me.m, pfn)

        me.m.env.process(soft_offline(victim))
        check_at_rest(me.m)
    assert all(me.m.frames.state[pfn] == State.KEPT_OUT for pfn in me.m.frames.bad)


@pytest.mark.parametrize("kind", FILESYSTEMS)
@pytest.mark.parametrize("mode", [Mode.BIND, Mode.PREFERRED])
def test_pages_of_a_file_come_from_the_node_of_the_tasks_policy(kind: str, mode: Mode) -> None:
    """set_mempolicy03: MPOL_BIND and MPOL_PREFERRED, backed by files of every filesystem, for parent and child."""
    for node in range(4):
        me = Me(cpu=2)
        assert me.set(mode, [node]) == 0
        for one in (me.fork(), me):
            vma = files.mapped(me.m, one.task, files.file(me.m, kind, pages=16))
            assert one.touch(vma) == [node] * 16
        check_at_rest(me.m)


@pytest.mark.parametrize("kind", FILESYSTEMS)
def test_pages_of_files_are_interleaved_by_the_tasks_policy(kind: str) -> None:
    """set_mempolicy04: MPOL_INTERLEAVE, backed by files of every filesystem and of 40 sizes. LTP allows for a part in
    60 of all pages on each node."""
    me = Me(pages=1024)
    assert me.set(Mode.INTERLEAVE, [0, 1, 2, 3]) == 0
    nodes: Counter[int] = Counter()
    for tens in range(1, 11):
        for number in range(1, 5):
            child = me.fork()
            vma = files.mapped(me.m, child.task, files.file(me.m, kind, pages=10 * tens + number))
            nodes.update(child.touch(vma))
            munmap(me.m, vma)
    total = sum(nodes.values())
    assert total == 4 * 550 + 10 * 10
    assert all(abs(nodes[node] - total / 4) < total / 60 for node in range(4)), nodes
    check_at_rest(me.m)
