"""Policies, by the calls that set them: rows measured on a real 4-node kernel (Linux 6.1), and what cutting VMAs means."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from backend.emulator.fault import access, touch
from backend.emulator.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm import Vma
from backend.emulator.syscalls import Caller
from backend.emulator.task import Task
from backend.kernel import Mode, MoveFlag
from backend.nodeset import NodeSet
from backend.placement import parse_numa_maps
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096
STATIC, RELATIVE = 0x8000, 0x4000


class Self:
    """A task that calls for itself."""

    def __init__(self, cpu: int = 0, privileged: bool = True, **options: Any) -> None:
        self.m: Machine = machine("linux-6", **options)
        self.task: Task = self.m.spawn("t", cpu=cpu)
        self.kernel = EmulatedKernel(self.m, Caller(0 if privileged else 1000, privileged, self.task.pid))
        if not privileged:
            self.task.uid = 1000

    def mbind(
        self, vma: Vma, mode: int, nodes: list[int], flags: int = 0, first: int = 0, count: int = 0
    ) -> int | str:
        length = (count or vma.pages) * PAGE
        return self._answer(
            lambda: self.kernel.mbind(
                vma.start + first * PAGE, length, mode, NodeSet(nodes).mask(), 65, flags
            )
        )

    def set(self, mode: int, nodes: list[int]) -> int | str:
        return self._answer(lambda: self.kernel.set_mempolicy(mode, NodeSet(nodes).mask(), 65))

    def get(self, address: int = 0, flags: int = 0) -> Any:
        answer = self._answer(lambda: self.kernel.get_mempolicy(65, address, flags))
        return answer if isinstance(answer, str) else [answer[0], list(NodeSet.from_mask(answer[1]))]

    def _answer(self, call: Any) -> Any:
        try:
            return call()
        except OSError as exc:
            return errno.errorcode[exc.errno or 0]

    def touch(self, vma: Vma, count: int = 0) -> list[int]:
        index = np.arange(count or vma.pages, dtype=np.int64)
        self.m.run(touch(self.m, self.task, self.task.leader, vma.start, index, write=True))
        return nodes_of(self.m, vma)

    def policies(self) -> list[str]:
        return [vma.policy for vma in parse_numa_maps(self.kernel.read(f"/proc/{self.task.pid}/numa_maps"))]


@pytest.mark.parametrize(
    ("mode", "nodes", "where", "shown", "got"),
    [
        (Mode.PREFERRED, [3], [3] * 12, "prefer:3", [1, [3]]),
        (Mode.PREFERRED | STATIC, [3], [3] * 12, "prefer=static:3", [32769, [3]]),
        (Mode.PREFERRED | RELATIVE, [3], [3] * 12, "prefer=relative:3", [16385, [3]]),
        (Mode.BIND, [1, 3], [1] * 12, "bind:1,3", [2, [1, 3]]),
        (Mode.BIND | STATIC, [1, 3], [1] * 12, "bind=static:1,3", [32770, [1, 3]]),
        (Mode.INTERLEAVE, [1, 3], [1, 3] * 6, "interleave:1,3", [3, [1, 3]]),
        (Mode.INTERLEAVE | STATIC, [1, 3], [1, 3] * 6, "interleave=static:1,3", [32771, [1, 3]]),
        (Mode.INTERLEAVE | RELATIVE, [1, 3], [1, 3] * 6, "interleave=relative:1,3", [16387, [1, 3]]),
        (Mode.PREFERRED_MANY, [1, 3], [1] * 12, "prefer (many):1,3", [5, [1, 3]]),
        (Mode.PREFERRED_MANY | STATIC, [1, 3], [1] * 12, "prefer (many)=static:1,3", [32773, [1, 3]]),
        (Mode.PREFERRED_MANY | RELATIVE, [1, 3], [1] * 12, "prefer (many)=relative:1,3", [16389, [1, 3]]),
        (Mode.LOCAL, [], [0] * 12, "local", [4, []]),
    ],
)  # fmt: skip
def test_mbind_then_touch(mode: int, nodes: list[int], where: list[int], shown: str, got: list[Any]) -> None:
    me = Self()
    vma = region(me.m, me.task, {}, pages=12)
    assert me.mbind(vma, mode, nodes) == 0
    assert me.touch(vma) == where
    assert me.policies() == [shown]
    assert me.get(vma.start, 2) == got


@pytest.mark.parametrize(
    ("mode", "nodes", "result", "got"),
    [
        (Mode.BIND, [], "EINVAL", [0, []]), (Mode.DEFAULT, [1], "EINVAL", [0, []]), (Mode.LOCAL, [1], "EINVAL", [0, []]),
        (Mode.BIND, [7], "EINVAL", [0, []]), (Mode.BIND, [1, 7], 0, [2, [1]]), (Mode.PREFERRED, [1, 2], 0, [1, [1]]),
        (Mode.PREFERRED, [], 0, [4, []]), (Mode.INTERLEAVE, [], "EINVAL", [0, []]), (9, [1], "EINVAL", [0, []]),
        (Mode.BIND | STATIC | RELATIVE, [1], "EINVAL", [0, []]),
    ],
)  # fmt: skip
def test_arguments_of_set_mempolicy_and_mbind(
    mode: int, nodes: list[int], result: int | str, got: list[Any]
) -> None:
    me = Self()
    vma = region(me.m, me.task, {}, pages=4)
    assert me.set(mode, nodes) == result
    assert me.get() == got
    if mode != Mode.DEFAULT:
        assert me.mbind(vma, mode, nodes) == result


@pytest.mark.parametrize(
    ("mode", "nodes", "where", "shown", "got", "node"),
    [
        (Mode.BIND, [2], [2] * 8, "bind:2", [2, [2]], 2), (Mode.INTERLEAVE, [0, 2], [0, 2] * 4, "interleave:0,2", [3, [0, 2]], 0),
        (Mode.PREFERRED, [3], [3] * 8, "prefer:3", [1, [3]], 3), (Mode.PREFERRED_MANY, [1, 3], [1] * 8, "prefer (many):1,3", [5, [1, 3]], 1),
    ],
)  # fmt: skip
def test_a_task_policy_places_new_pages_and_survives_a_migration(
    mode: int, nodes: list[int], where: list[int], shown: str, got: list[Any], node: int
) -> None:
    me = Self()
    vma = region(me.m, me.task, {}, pages=8)
    assert me.set(mode, nodes) == 0
    assert me.touch(vma) == where
    assert me.policies() == [shown]
    assert me.get() == got
    assert me.get(vma.start, 2) == [0, []]
    assert me.get(vma.start, 3) == [node, []]
    assert me.kernel.migrate_pages(me.task.pid, 65, NodeSet(range(4)).mask(), NodeSet([1]).mask()) == 0
    assert nodes_of(me.m, vma) == [1] * 8
    assert me.get() == got
    assert me.policies() == [shown]


def test_get_mempolicy_arguments() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 1})
    assert me.get(0, 4) == [0, [0, 1, 2, 3]]
    assert me.get(0, 1) == "EINVAL"
    assert me.get(vma.start, 0) == "EINVAL"
    assert me.get(0, 4 | 1) == "EINVAL"
    assert me.get(0x1000, 2) == "EFAULT"
    assert me.get(0, 64) == "EINVAL"


def test_mbind_refusals() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 8})
    kernel = me.kernel
    for address, length, flags, error in (
        (vma.start + 1, PAGE, 0, "EINVAL"),
        (0x10000, PAGE, 0, "EFAULT"),
        (vma.start, PAGE, 64, "EINVAL"),
        (vma.start, 20 * PAGE, 0, "EFAULT"),
    ):
        with pytest.raises(OSError) as caught:
            kernel.mbind(address, length, Mode.BIND, NodeSet([1]).mask(), 65, flags)
        assert errno.errorcode[caught.value.errno or 0] == error
    assert me.policies() == ["default"]
    assert Self(privileged=False).mbind(vma, Mode.BIND, [1], MoveFlag.MOVE_ALL) == "EPERM"


def test_mbind_moves_what_does_not_conform() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 12})
    assert me.mbind(vma, Mode.BIND, [2], MoveFlag.MOVE) == 0
    assert nodes_of(me.m, vma) == [2] * 12
    check_at_rest(me.m)


def test_mbind_interleave_spreads_by_page_offset() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 12})
    assert me.mbind(vma, Mode.INTERLEAVE, [1, 2, 3], MoveFlag.MOVE) == 0
    assert nodes_of(me.m, vma) == [[1, 2, 3][(vma.pgoff + n) % 3] for n in range(12)]
    assert sorted(nodes_of(me.m, vma)) == [1] * 4 + [2] * 4 + [3] * 4


def test_strict_alone_refuses_misplaced_pages_and_moves_nothing() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 12})
    assert me.mbind(vma, Mode.BIND, [1], MoveFlag.STRICT) == "EIO"
    assert nodes_of(me.m, vma) == [0] * 12


def test_move_and_strict_tell_of_a_pinned_page() -> None:
    me = Self()
    vma = region(me.m, me.task, {0: 3})
    me.m.locks.get_page(int(vma.pfns(np.array([1]))[0]))
    assert me.mbind(vma, Mode.BIND, [1], MoveFlag.MOVE | MoveFlag.STRICT) == "EIO"
    assert nodes_of(me.m, vma) == [1, 0, 1]
    assert me.mbind(vma, Mode.BIND, [1], MoveFlag.MOVE) == 0


def test_a_policy_for_a_part_cuts_the_vma_and_going_back_joins_it() -> None:
    me = Self()
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
    me = Self(pages=600)
    vma = region(me.m, me.task, {0: 400})
    from backend.emulator import policy_calls, syscalls

    m = me.m
    moving = m.env.process(
        syscalls.migrate_pages(m, Caller(), me.task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    )
    m.env.run(until=m.now + 60e-6)
    other = region(m, me.task, {}, pages=2)
    caller = Caller(0, True, me.task.pid)
    began = m.now
    faulting = m.env.process(
        touch(m, me.task, me.task.leader, other.start, np.arange(2, dtype=np.int64), write=True)
    )
    m.env.run(until=faulting)
    assert moving.is_alive
    changing = m.env.process(
        policy_calls.mbind(m, caller, vma.start, PAGE, Mode.BIND, 65, NodeSet([1]).mask(), 0)
    )
    m.env.run(until=changing)
    assert not moving.is_alive
    assert m.now - began > 100e-6
    check_at_rest(m)
