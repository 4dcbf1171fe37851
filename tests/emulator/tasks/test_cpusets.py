"""Cpusets: rows measured on a real 4-node kernel (Linux 6.1), and the rules around them."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.migration.hotplug import offline, online
from backend.emulator.mm import mempolicy
from backend.emulator.mm.fault import OutOfMemory, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.shipped import load
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.permissions import caller_of
from backend.kernel import Mode
from backend.nodeset import NodeSet
from backend.plan.remap import landing, node_remap, remap
from tests import DATA
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin, Victim, answer

ROWS: dict[str, dict[str, Any]] = {row["case"]: row for row in json.loads((DATA / "cpusets.json").read_text())}
STATIC, RELATIVE = 0x8000, 0x4000


def same_as_measured(victim: Victim, case: str, wrote: Any = "ok") -> None:
    row = ROWS[case]
    assert wrote == row.get("w", "ok"), case
    assert victim.lay == row["lay"], case
    if "pol" in row:
        assert victim.pol == row["pol"], case
    if "mems" in row:
        assert victim.mems == row["mems"], case
    check_at_rest(victim.admin.m)


def test_the_measured_life_of_a_task_in_cgroup_v2() -> None:
    admin = Admin()
    admin.create("A", "0-1")
    admin.create("B", "2")
    victim = Victim(admin, "A")
    same_as_measured(victim, "cpuset A mems 0-1: start")
    assert admin.migrate(victim.task, [0], [3]) == ROWS["migrate_pages to node outside cpuset (root)"]["res"]
    same_as_measured(victim, "migrate_pages to node outside cpuset (root)")
    assert admin.migrate(victim.task, [3], [0]) == 0
    same_as_measured(victim, "A mems 0-1 -> 2-3", admin.mems("A", "2-3"))
    same_as_measured(victim, "A mems 2-3 -> 1-2", admin.mems("A", "1-2"))
    same_as_measured(victim, "move task A(1-2) -> B(2)", admin.attach("B", victim.task))
    same_as_measured(victim, "B mems -> 0-3", admin.mems("B", "0-3"))
    before = victim.lay
    assert admin.mems("B", "9") == ROWS["B mems -> 9"]["w"]
    assert victim.lay == before
    measured = ROWS["memory.numa_stat of B"]["stat"].split("\n")
    stat = dict(line.split(" ", 1) for line in admin.read("B", "memory.numa_stat").split("\n"))
    assert {"anon", "file", "shmem"} <= set(stat)
    for line in measured[:-1]:
        kind, _, nodes = line.partition(" ")
        assert stat.get(kind, nodes) == nodes, "pages stay charged to A, where they were first touched"
    assert admin.read("A", "memory.numa_stat").split("\n")[0] == f"anon N0=0 N1=0 N2={30 * 4096} N3=0"
    assert admin.read("A", "memory.current") == str(30 * 4096)


def test_the_measured_refusals_of_a_confined_task() -> None:
    row = ROWS["self confined to mems 0-1"]
    admin = Admin()
    admin.create("A", "0-1")
    task = admin.spawn("A")
    vma = region(admin.m, task, {0: 4})
    own = admin.own(task)
    all_nodes = NodeSet(range(4)).mask()
    assert f"-{answer(lambda: own.migrate_pages(0, 65, all_nodes, NodeSet([3]).mask()))}" == row["migrate_0_3"]
    pages = array("Q", [vma.start + n * 4096 for n in range(4)])
    status = array("i", [-77] * 4)
    called = answer(lambda: own.move_pages(0, pages, array("i", [3] * 4), status, 2))
    assert [f"-{called}", [None if one == -77 else one for one in status]] == row["move_3"]
    assert f"-{admin.mbind(task, vma, Mode.BIND, [3])}" == row["bind3"]
    assert admin.mbind(task, vma, Mode.BIND, [1, 3]) == row["bind_1_3"][0]
    line = own.read(f"/proc/{task.pid}/numa_maps").decode()
    assert line.split(" ", 1)[1].strip() == row["bind_1_3"][1].split(" ", 1)[1]
    old, new = NodeSet([0, 1]).mask(), NodeSet([1, 3]).mask()
    assert own.migrate_pages(0, 65, old, new) == row["migrate_01_13"]
    assert nodes_of(admin.m, vma) == row["where"]
    check_at_rest(admin.m)


@pytest.mark.parametrize("migrate", [0, 1])
def test_the_measured_life_of_a_task_in_cgroup_v1(migrate: int) -> None:
    admin = Admin(cgroups="v1")
    admin.create("A", "0-1")
    admin.create("B", "2-3")
    for name in "AB":
        assert admin.write(name, "cpuset.memory_migrate", f"{migrate}\n") == "ok"
        assert admin.read(name, "cpuset.memory_migrate") == str(migrate)
    task = admin.spawn("A")
    maps = [region(admin.m, task, {}, pages=8) for _ in range(3)]
    admin.touch(task, maps[0], 0)
    admin.touch(task, maps[1], 1)
    admin.mbind(task, maps[2], Mode.INTERLEAVE, [0, 1])
    admin.touch(task, maps[2])

    def same(case: str, wrote: Any = "ok") -> None:
        row = ROWS[f"v1 memory_migrate={migrate}: {case}"]
        assert wrote == row.get("w", "ok")
        assert [
            {str(node): nodes_of(admin.m, vma).count(node) for node in set(nodes_of(admin.m, vma))} for vma in maps
        ] == row["lay"]
        assert [str(maps[2].policy)] == row["pol"]
        check_at_rest(admin.m)

    same("start in A(0-1)")
    same("A mems -> 1-2", admin.mems("A", "1-2"))
    if not migrate:
        same("attach to B(2-3)", admin.attach("B", task))
    before = admin.read("A", "cpuset.mems")
    assert admin.mems("A", "9") == ROWS["v1 mems -> 9"]["w"]
    assert admin.read("A", "cpuset.mems") == before


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_after_a_change_every_page_is_inside_and_keeps_its_relative_position(profile: str, data: st.DataObject) -> None:
    nodes = st.sets(st.integers(0, 3), min_size=1).map(NodeSet)
    old, new = data.draw(nodes), data.draw(nodes)
    admin = Admin(profile)
    admin.create("A", str(old), memory_migrate=profile == "direct-v8")
    task = admin.spawn("A")
    vma = region(admin.m, task, dict.fromkeys(old, 4))
    before = nodes_of(admin.m, vma)
    assert admin.mems("A", str(new)) == "ok"
    after = nodes_of(admin.m, vma)
    assert set(after) <= set(new)
    moves = remap(old, new, admin.m.profile.rule)
    assert after == [landing(moves, node) for node in before]
    if len(old) == len(new):
        assert after == [node_remap(node, old, new) for node in before]
    check_at_rest(admin.m)


def test_swap_migration_sets_the_policy_first_so_that_pages_come_back_on_the_new_nodes() -> None:
    admin = Admin("swap-2.6.15")
    admin.create("A", "0-1", memory_migrate=True)
    task = admin.spawn("A")
    spread, bound = (region(admin.m, task, {}, pages=8) for _ in range(2))
    admin.mbind(task, spread, Mode.INTERLEAVE, [0, 1])
    admin.mbind(task, bound, Mode.BIND, [1])
    admin.touch(task, spread)
    assert admin.touch(task, bound) == [1] * 8
    assert admin.mems("A", "2-3") == "ok"
    assert nodes_of(admin.m, spread) == nodes_of(admin.m, bound) == [-1] * 8
    assert admin.m.counters["pswpout"] == 16
    assert sorted(admin.touch(task, spread)) == [2] * 4 + [3] * 4
    assert admin.touch(task, bound) == [3] * 8
    check_at_rest(admin.m)


def test_widening_swaps_nothing_out() -> None:
    admin = Admin("swap-2.6.15")
    admin.create("A", "0-1", memory_migrate=True)
    vma = region(admin.m, admin.spawn("A"), {0: 4, 1: 4})
    assert admin.mems("A", "0-3") == "ok"
    assert nodes_of(admin.m, vma) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8", "swap-2.6.15"])
def test_new_pages_and_fallback_stay_within_mems(profile: str) -> None:
    admin = Admin(profile, pages=64)
    admin.create("A", "1-2")
    task = admin.spawn("A")
    near = region(admin.m, task, {}, pages=4)
    assert admin.touch(task, near, 3) == [2] * 4, "node 3 runs it, node 2 is the nearest of its own"
    many = region(admin.m, task, {}, pages=80)
    assert set(admin.touch(task, many, 0)) == {1, 2}, "more than a node holds"
    preferring = region(admin.m, task, {}, pages=2)
    preferring.policy = Mempolicy(Mode.PREFERRED, NodeSet([3]))
    assert set(admin.touch(task, preferring)) <= {1, 2}
    stale = region(admin.m, task, {}, pages=2)
    stale.policy = Mempolicy(Mode.BIND, NodeSet([0]))
    assert set(admin.touch(task, stale)) <= {1, 2}, "a policy with none of the mems does not confine"
    spread = region(admin.m, task, {}, pages=4)
    spread.policy = Mempolicy(Mode.INTERLEAVE, NodeSet([0, 3]))
    assert set(admin.touch(task, spread)) <= {1, 2}
    check_at_rest(admin.m)


def test_out_of_memory_inside_the_mems_kills_who_may_use_them() -> None:
    admin = Admin(pages=64, swap_pages=0)
    admin.create("A", "1")
    greedy, bystander = admin.spawn("A"), admin.spawn("")
    admin.create("B", "0")
    outside = admin.spawn("B")
    left = region(admin.m, outside, {1: 30})
    vma = region(admin.m, greedy, {1: 20}, pages=60)
    path = touch(admin.m, greedy, greedy.leader, vma.start, np.arange(20, 60, dtype=np.int64), write=True)
    with pytest.raises(OutOfMemory):
        admin.m.run(path)
    assert greedy.exited == "out of memory"
    assert bystander.alive
    assert outside.alive, "it has the most memory there, but may not use the node"
    assert nodes_of(admin.m, left) == [1] * 30
    assert admin.m.frames.zones[0].free == 64, "nothing was taken from elsewhere"


def test_fork_inherits_the_cpuset_and_a_child_forked_meanwhile_is_rebound_too() -> None:
    """The task updated first keeps the change busy; the second forks before its own policies were rebound."""
    admin = Admin(batch=1)
    admin.create("A", "0-1")
    region(admin.m, admin.spawn("A"), {0: 30})
    task = admin.spawn("A")
    vma = region(admin.m, task, {0: 4})
    admin.mbind(task, vma, Mode.BIND, [0])
    assert admin.m.run(fork(admin.m, task)).cpuset is task.cpuset
    m, cs = admin.m, task.cpuset
    assert cs is not None
    changing = m.env.process(Cpusets.of(m).set_mems(cs, NodeSet([2, 3])))
    late = m.env.process(fork(m, task))
    child: Any = m.env.run(until=late)
    m.env.run(until=changing)
    assert child.cpuset is cs
    assert [str(one.policy) for one in child.mm.vmas] == ["bind:2"]
    assert m.run(fork(m, child)).cpuset is cs
    check_at_rest(m)


@pytest.mark.parametrize(
    ("mode", "asked", "mems", "shown"),
    [
        (Mode.BIND, [0], ["2-3"], "bind:2"),
        (Mode.BIND, [1], ["2"], "bind:2"),
        (Mode.INTERLEAVE, [0, 1], ["2", "0-3"], "interleave:0"),
        (Mode.INTERLEAVE, [0, 1], ["1-3"], "interleave:1-2"),
        (Mode.BIND | STATIC, [0, 1], ["2-3", "1-2"], "bind=static:1"),
        (Mode.BIND | STATIC, [0, 1], ["2-3"], "bind=static:2-3"),
        (Mode.BIND | RELATIVE, [0, 1], ["2-3"], "bind=relative:2-3"),
        (Mode.INTERLEAVE | RELATIVE, [1], ["1-3"], "interleave=relative:2"),
        (Mode.PREFERRED, [1], ["2-3"], "prefer:1"),
        (Mode.LOCAL, [], ["2-3"], "local"),
    ],
)
def test_policies_follow(mode: int, asked: list[int], mems: list[str], shown: str) -> None:
    admin = Admin()
    admin.create("A", "0-1")
    task = admin.spawn("A")
    vma = region(admin.m, task, {}, pages=4)
    assert admin.mbind(task, vma, mode, asked) == 0
    own = admin.own(task)
    own.set_mempolicy(mode, NodeSet(asked).mask() if asked else b"", 65)
    for one in mems:
        assert admin.mems("A", one) == "ok"
    assert str(vma.policy) == str(task.policy) == shown
    assert own.get_mempolicy(65, 0, 4)[1] == NodeSet.parse_list(mems[-1]).mask()


def test_a_policy_that_was_made_under_other_mems_keeps_its_own_positions() -> None:
    """w.cpuset_mems_allowed, not the cpuset's mems before the change, is what the nodes are counted in."""
    policy = mempolicy.create(Mode.BIND, NodeSet([2]), NodeSet([1, 2]))
    assert policy is not None
    assert str(mempolicy.rebind(policy, NodeSet([0, 1, 2]), NodeSet([0, 3]))) == "bind:3"
    assert mempolicy.rebind(policy, NodeSet([0, 1]), NodeSet([1, 2])) == policy


def test_a_full_target_node_is_made_up_for_inside_the_mems_only() -> None:
    """direct-v8, where target frames may come from other nodes: node 2 is the nearest to 3, but not for this cpuset."""
    admin = Admin("direct-v8", pages=64)
    admin.create("A", "1", memory_migrate=True)
    vma = region(admin.m, admin.spawn("A"), {1: 30})
    region(admin.m, admin.spawn(""), {3: 40})
    assert admin.mems("A", "3") == "ok"
    assert set(nodes_of(admin.m, vma)) == {1, 3}
    check_at_rest(admin.m)


def test_policies_leave_a_node_that_goes_offline() -> None:
    admin = Admin()
    admin.create("A", "2-3")
    free, confined = admin.spawn(""), admin.spawn("A")
    for task in (free, confined):
        region(admin.m, task, {3: 4}, pages=8).policy = Mempolicy(Mode.BIND, NodeSet([3]))
    assert admin.m.run(offline(admin.m, 3)) == 0
    assert admin.read("A", "cpuset.mems") == "2-3"
    assert admin.read("A", "cpuset.mems.effective") == "2"
    assert admin.read("", "cpuset.mems.effective") == "0-2"
    vmas = [task.mm.vmas[0] for task in (free, confined)]
    assert [str(vma.policy) for vma in vmas] == ["bind:0", "bind:2"]
    assert set(admin.touch(confined, vmas[1])) == {2}
    assert admin.touch(free, vmas[0])[4:] == [0] * 4, "not killed for want of a frame"
    assert admin.m.run(online(admin.m, 3)) == 0
    assert admin.read("A", "cpuset.mems.effective") == "2-3"
    check_at_rest(admin.m)


def test_in_v1_who_has_no_node_left_goes_up() -> None:
    admin = Admin(cgroups="v1")
    admin.create("P", "2-3")
    admin.create("C", "3", "P")
    task = admin.spawn("P/C")
    region(admin.m, task, {3: 4}, pages=8).policy = Mempolicy(Mode.BIND, NodeSet([3]))
    assert admin.m.run(offline(admin.m, 3)) == 0
    assert admin.m.run(online(admin.m, 3)) == 0
    assert admin.kernel.read(f"/proc/{task.pid}/cpuset") == b"/P\n"
    assert [admin.read(one, "cpuset.mems") for one in ("P", "P/C")] == ["2", ""]
    assert str(task.mm.vmas[0].policy) == "bind:2"
    assert admin.attach("P/C", task) == "ENOSPC"
    check_at_rest(admin.m)


def test_in_2_6_a_preferred_node_follows_too() -> None:
    policy = Mempolicy(Mode.PREFERRED, NodeSet([1]))
    old, new = NodeSet([0, 1]), NodeSet([2, 3])
    assert str(mempolicy.rebind(policy, old, new, preferred_too=True)) == "prefer:3"


def test_a_confined_caller_takes_no_frame_from_outside_its_own_mems() -> None:
    """move_pages looks at the target's cpuset, the allocator at the caller's: no frame there (GFP_THISNODE)."""
    admin = Admin()
    admin.create("A", "0")
    helper, task = admin.spawn("A"), admin.spawn("")
    vma = region(admin.m, task, {0: 2})
    kernel = EmulatedKernel(admin.m, caller_of(helper))
    pages, status = array("Q", [vma.start]), array("i", [-77])
    assert answer(lambda: kernel.move_pages(task.pid, pages, array("i", [2]), status, 2)) == "ENOMEM"
    assert nodes_of(admin.m, vma) == [0, 0]
    assert not (vma.pte & PTE_PRESENT == 0).any()
    check_at_rest(admin.m)


def test_the_shipped_scenario_keeps_the_interleaving() -> None:
    description = load("cpuset-keeps-interleave")
    steps = description.steps
    seen = []
    for upto in range(1, 5):
        part = replace(description, steps=steps[:upto], run=0.0)
        vmas = run_scenario(part)["tasks"]["oltp"]["vmas"]
        seen.append([(vma["policy"], vma["nodes"]) for vma in vmas])
    half, log, index = 4096, 2048, 2048
    assert seen[0] == [
        ("interleave:2-3", {"2": half, "3": half}), ("default", {"3": log}), ("bind:2", {"2": index}),
    ]  # fmt: skip
    assert seen[1] == [
        ("interleave:1-2", {"1": half, "2": half}), ("default", {"2": log}), ("bind:1", {"1": index}),
    ]  # fmt: skip
    assert [nodes for _, nodes in seen[2]] == [nodes for _, nodes in seen[1]]
    assert [policy for policy, _ in seen[2]] == ["interleave:0-1", "default", "bind:0"]
    assert [set(nodes) for _, nodes in seen[3]] == [{"3"}] * 3
