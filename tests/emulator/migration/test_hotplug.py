"""A node that goes offline and comes back, a frame that is bad: the same migration, whose caller keeps the frames."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.frames.page import State
from backend.emulator.migration.hotplug import bad_page, offline, online
from backend.emulator.mm.fault import touch
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.tasks.life import do_exit, spawn
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PROFILES = ["linux-6", "direct-v8", "swap-2.6.15"]


@pytest.mark.parametrize("profile", PROFILES)
def test_everything_leaves_an_offlined_node_and_nothing_comes_to_it(profile: str) -> None:
    m = machine(profile)
    task = spawn(m, "t", cpu=6)
    vma = region(m, task, {3: 20, 1: 5}, pages=60)
    assert m.run(offline(m, 3)) == 0
    assert 3 not in nodes_of(m, vma)
    assert nodes_of(m, vma).count(2) == (0 if profile == "swap-2.6.15" else 20), "the nearest node"
    m.run(touch(m, task, task.leader, vma.start, np.arange(60, dtype=np.int64), write=True))
    assert 3 not in nodes_of(m, vma)
    zone = m.frames.zones[3]
    assert (m.frames.state[zone.start : zone.start + zone.pages] == State.KEPT_OUT).all()
    check_at_rest(m)
    topology = read_topology(EmulatedKernel(m))
    assert str(topology.memory_ids) == "0-2"
    assert str(topology.ids) == "0-3"
    with pytest.raises(OSError):
        EmulatedKernel(m).migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask())


def test_it_comes_back_and_is_used_again() -> None:
    m = machine()
    task = spawn(m, "t", cpu=6)
    vma = region(m, task, {3: 20}, pages=40)
    free = m.frames.zones[3].free
    m.run(offline(m, 3))
    m.run(online(m, 3))
    assert m.frames.zones[3].free == free + 20
    m.run(touch(m, task, task.leader, vma.start, np.arange(20, 40, dtype=np.int64), write=True))
    assert nodes_of(m, vma)[20:] == [3] * 20
    check_at_rest(m)


def test_a_pinned_page_keeps_the_node_and_all_is_as_before() -> None:
    m = machine()
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {3: 4})
    pinned = int(vma.pfns(np.array([2]))[0])
    m.locks.get_page(pinned)
    with pytest.raises(OSError) as caught:
        m.run(offline(m, 3))
    assert caught.value.errno == errno.EBUSY
    assert nodes_of(m, vma)[2] == 3
    assert not m.frames.zones[3].kept_out
    assert 3 in m.memory_nodes
    m.locks.put_page(pinned)
    check_at_rest(m)


def test_the_last_node_and_one_without_memory_cannot_go() -> None:
    m = machine(nodes=2)
    m.run(offline(m, 1))
    for node in (0, 1, 7):
        with pytest.raises(OSError):
            m.run(offline(m, node))
    with pytest.raises(OSError):
        m.run(online(m, 0))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_bad_frame_is_emptied_and_never_used_again(profile: str) -> None:
    m = machine(profile, pages=64)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 3}, pages=60)
    bad = int(vma.pfns(np.array([1]))[0])
    assert m.run(bad_page(m, bad)) == 0
    assert m.frames.state[bad] == State.KEPT_OUT
    m.run(touch(m, task, task.leader, vma.start, np.arange(60, dtype=np.int64), write=True))
    assert bad not in vma.pfns(np.arange(60)).tolist()
    do_exit(m, task)
    assert m.frames.zones[0].free == m.frames.zones[0].pages - 1
    check_at_rest(m)
    m.run(offline(m, 0))
    m.run(online(m, 0))
    assert m.frames.state[bad] == State.KEPT_OUT
    check_at_rest(m)


@pytest.mark.parametrize("steps", range(0, 40, 4))
@pytest.mark.parametrize("profile", PROFILES)
def test_faults_and_an_exit_while_a_node_goes_offline_lose_nothing(profile: str, steps: int) -> None:
    m = machine(profile, batch=2)
    task = spawn(m, "t", cpu=6, threads=[7])
    vma = region(m, task, {3: 8}, pages=20)
    other = spawn(m, "other", cpu=6)
    region(m, other, {3: 4})
    going = m.env.process(offline(m, 3))
    for _ in range(steps):
        if going.is_alive:
            m.env.step()
            check(m)
    m.env.process(touch(m, task, task.threads[1], vma.start, np.arange(20, dtype=np.int64), write=True))
    do_exit(m, other)
    m.env.run()
    check_at_rest(m)
    assert 3 not in nodes_of(m, vma)


def test_in_a_scenario() -> None:
    text = """
machine: {nodes: [{id: 0, memory: 8MiB, cpus: 0}, {id: 1, memory: 8MiB, cpus: 1}]}
processes: [{name: a, node: 0, memory: [{name: r, size: 64KiB}]}]
steps:
  - {at: 1s, bad_page: {task: a, region: r, pages: 3}}
  - {at: 2s, offline: {node: 0}}
  - {at: 3s, offline: {node: 1}}
  - {at: 4s, online: {node: 0}}
"""
    report = run_scenario(parse_description(text))
    assert [step["errno"] for step in report["steps"]] == [None, None, "EINVAL", None]
    assert report["tasks"]["a"]["vmas"][0]["nodes"] == {"1": 16}
    assert [node["kept_out"] for node in report["nodes"]] == [1, 0]


def test_after_a_failed_removal_cpusets_have_the_node_again() -> None:
    """Also when the nodes were counted while it was going: another node came or went meanwhile."""
    m = machine("direct-v8")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {3: 4})
    m.locks.get_page(int(vma.pfns(np.array([2]))[0]))
    going = m.env.process(offline(m, 3))
    m.env.step()
    m.run(offline(m, 2))
    assert str(m.cpusets.root.mems) == "0-1"
    with pytest.raises(OSError):
        m.env.run(until=going)
    assert str(m.cpusets.root.mems) == "0-1,3"
