"""Policies, by the calls that set them: arguments that no measured row has, and what cutting VMAs means."""

# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.mm import mempolicy
from backend.emulator.mm.fault import access, touch
from backend.emulator.tasks.credentials import Caller
from backend.errors import UsageError
from backend.kernel import Mode, MoveFlag
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region
from tests.emulator.rig import PAGE, Me

STATIC, RELATIVE = 0x8000, 0x4000


@pytest.mark.parametrize("mode", [9, Mode.BIND | STATIC | RELATIVE])
def test_modes_that_do_not_exist_are_refused(mode: int) -> None:
    me = Me()
    assert me.set(mode, [1]) == "-EINVAL"
    assert me.mbind(me.region({0: 1}), mode, [1]) == "-EINVAL"
    assert (me.get(), me.policies()) == ([0, 0, []], ["default"])


@pytest.mark.parametrize(
    ("address", "flags", "error"), [(0, 4 | 1, "-EINVAL"), (0x1000, 2, "-EFAULT"), (0, 64, "-EINVAL")]
)
def test_get_mempolicy_refuses(address: int, flags: int, error: str) -> None:
    assert Me().get(address, flags) == [error, -1, []]


def test_mbind_refuses_a_range_that_ends_beyond_the_mapping_and_changes_nothing() -> None:
    me = Me()
    assert me.mbind(me.region({0: 8}), Mode.BIND, [1], count=20) == "-EFAULT"
    assert me.policies() == ["default"]


def test_move_and_strict_tell_of_a_pinned_page() -> None:
    me = Me()
    vma = region(me.m, me.task, {0: 3})
    me.m.locks.get_page(int(vma.pfns(np.array([1]))[0]))
    assert me.mbind(vma, Mode.BIND, [1], MoveFlag.MOVE | MoveFlag.STRICT) == "-EIO"
    assert nodes_of(me.m, vma) == [1, 0, 1]
    assert me.mbind(vma, Mode.BIND, [1], MoveFlag.MOVE) == 0


def test_a_policy_for_a_part_cuts_the_vma_and_going_back_joins_it() -> None:
    me = Me()
    vma = region(me.m, me.task, {0: 6, 1: 6})
    assert me.mbind(vma, Mode.BIND, [3], MoveFlag.MOVE, first=4, count=4) == 0
    assert me.policies() == ["default", "bind:3", "default"]
    lower, middle, upper = me.task.mm.vmas
    assert [nodes_of(me.m, part) for part in (lower, middle, upper)] == [[0] * 4, [3] * 4, [1] * 4]
    assert lower.end == middle.start
    assert middle.end == upper.start
    for index in range(12):
        address = lower.start + index * PAGE
        part = me.task.mm.find(address)
        value = me.m.run(access(me.m, me.task, me.task.leader, address, write=False))
        assert value == part.expected[(address - part.start) // PAGE]
    check_at_rest(me.m)
    assert me.mbind(middle, Mode.DEFAULT, []) == 0
    (joined,) = me.task.mm.vmas
    assert nodes_of(me.m, joined) == [0] * 4 + [3] * 4 + [1] * 4
    assert me.kernel.migrate_pages(me.task.pid, 65, NodeSet([3]).mask(), NodeSet([2]).mask()) == 0
    assert nodes_of(me.m, joined) == [0] * 4 + [2] * 4 + [1] * 4
    check_at_rest(me.m)


def test_a_mapping_waits_while_migrate_pages_runs_but_faults_do_not() -> None:
    """The stall that one call over a large process causes: whoever changes the address space stands still."""
    me = Me(pages=600)
    vma = region(me.m, me.task, {0: 400})
    from backend.emulator.abi import syscalls
    from backend.emulator.abi.mbind import mbind

    m = me.m
    moving = m.env.process(
        syscalls.migrate_pages(m, Caller(), me.task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    )
    m.env.run(until=m.now + 60e-6)
    other = region(m, me.task, {}, pages=2)
    caller = Caller(0, True, me.task.pid)
    began = m.now
    faulting = m.env.process(touch(m, me.task, me.task.leader, other.start, np.arange(2, dtype=np.int64), write=True))
    m.env.run(until=faulting)
    assert moving.is_alive
    changing = m.env.process(mbind(m, caller, vma.start, PAGE, Mode.BIND, 65, NodeSet([1]).mask(), 0))
    m.env.run(until=changing)
    assert not moving.is_alive
    assert m.now - began > 100e-6
    check_at_rest(m)


def test_policies_are_written_in_numactls_words_with_flags() -> None:
    nodes = NodeSet(range(4))
    assert str(mempolicy.parse("bind=static:1,3", nodes)) == "bind=static:1,3"
    assert str(mempolicy.parse("interleave=relative:0-1", nodes)) == "interleave=relative:0-1"
    assert str(mempolicy.parse("preferred-many:1-2", nodes)) == "prefer (many):1-2"
    for wrong in ("bind=odd:1", "local=static", "bind=:1", "bind", "prefer:0-1", "near:0"):
        with pytest.raises(UsageError):
            mempolicy.parse(wrong, nodes)
