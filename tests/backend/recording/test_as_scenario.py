"""A copy of a kernel has its nodes, room, processes and placement; what is tried on it comes out as on the machine
itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario, open_text
from backend.emulator.scenario.shipped import names
from backend.emulator.tasks.life import spawn
from backend.job.planning import plan as make
from backend.job.request import MoveRequest
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.placement.survey import Surveyor
from backend.recording.as_scenario import copy_of
from backend.selection.selection import Selection
from numatui.cli.emulate.what_if import report, write_copy
from tests.backend.advice.test_advice import scenario, tasks

PAGE = 4096


def rows(kernel: EmulatedKernel) -> dict[int, dict[int, int]]:
    return {
        row.process.pid: {node: amount for node, amount in (row.by_node or {}).items() if amount}
        for row in Surveyor(kernel, read_topology(kernel)).read()
        if any((row.by_node or {}).values())
    }


def test_the_copy_of_the_demo_is_the_demo() -> None:
    kernel = open_scenario()
    copy = copy_of(kernel, most_frames=1 << 30)
    assert copy.scale == 1
    again = open_text(copy.text, "copy")
    there, here = read_topology(again), read_topology(kernel)
    assert [(node.id, node.cpus, node.distances) for node in there.nodes] == [
        (node.id, node.cpus, node.distances) for node in here.nodes
    ]
    for one, other in zip(there.nodes, here.nodes, strict=True):
        assert one.free is not None
        assert other.free is not None
        assert abs(one.free - other.free) <= 0.002 * other.total
    anonymous = {
        pid: {
            node: sum(vma.bytes_by_node.get(node, 0) for vma in read_placement(kernel, pid).vmas if vma.kind != "file")
            for node in by_node
        }
        for pid, by_node in rows(kernel).items()
    }
    for pid, by_node in rows(again).items():
        expected = {node: amount for node, amount in anonymous[pid].items() if amount}
        shared = any(vma.kind == "shared" for vma in read_placement(kernel, pid).vmas)
        if not shared:
            assert by_node == expected, pid
    processes = {row.process.pid: row.process for row in Surveyor(kernel, here).read()}
    for row in Surveyor(again, there).read():
        if row.process.pid > 2:
            assert row.process.command == processes[row.process.pid].command
            assert there.node_of_cpu[row.process.cpu] == here.node_of_cpu[processes[row.process.pid].cpu]


@pytest.mark.parametrize("name", names())
def test_every_shipped_machine_can_be_copied(name: str) -> None:
    kernel = open_scenario(name)
    kernel.pause(1_000_000_000)
    copy = copy_of(kernel)
    again = open_text(copy.text, "copy")
    assert read_topology(again).ids == read_topology(kernel).ids
    assert set(rows(again)) <= set(rows(kernel)) | {1}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(tasks, min_size=1, max_size=4), st.data())
def test_a_migration_on_the_copy_ends_as_on_the_machine(chosen: list[dict], data: st.DataObject) -> None:
    kernel = open_text(scenario(chosen, [20] * 4), "machine.yaml")
    pid = data.draw(st.sampled_from(sorted(rows(kernel))))
    sources = data.draw(st.sets(st.integers(0, 3), min_size=1))
    targets = data.draw(st.sets(st.integers(0, 3), min_size=1))
    copy = copy_of(kernel)
    again = open_text(copy.text, "copy")
    assert rows(again)[pid] == rows(kernel)[pid]
    request = MoveRequest(Selection((pid,)), str(NodeSet(sources)), str(NodeSet(targets)))
    plan = make(kernel, request) if sources - targets else None
    for one in (kernel, again):
        one.migrate_pages(pid, 65, NodeSet(sources).mask(), NodeSet(targets).mask())
    assert rows(again)[pid] == rows(kernel)[pid]
    if plan is not None and not plan.warnings:
        after = {node: amount for node, amount in plan.processes[0].after.items() if amount}
        assert after == rows(kernel)[pid]


def test_larger_machines_become_smaller_and_are_told_as_they_are() -> None:
    kernel = open_scenario()
    whole, small = copy_of(kernel, most_frames=1 << 30), copy_of(kernel, most_frames=1 << 17)
    assert small.scale == 32
    step = "migrate_pages: {task: mysqld-11, from: 0-1, to: 2}"
    one, other = report(whole, [step]), report(small, [step])
    for a, b in zip(one["processes"], other["processes"], strict=False):
        if a["pid"] == b["pid"] == 11:
            assert a["after"] == b["after"]
            assert a["before"] != a["after"]
    assert one["steps"][0]["seconds"] == pytest.approx(other["steps"][0]["seconds"], rel=0.2)


def test_offlining_can_be_tried(tmp_path: Path) -> None:
    found = report(copy_of(open_scenario()), ["offline: {node: 1}"])
    assert found["steps"][0]["errno"] is None
    assert not any(one["after"].get("1") for one in found["processes"])
    assert any(one["before"].get("1") for one in found["processes"])


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    from tests.emulator.machines import region
    from tests.emulator.tasks.cpuset_machine import Admin

    machine = Admin(nodes=4, pages=4096)
    for name in (
        "a: b\n- c",
        "!!python/object/apply:os.system ['x']",
        "&x *x",
        "\x1b[31m",
        "caf\udce9",
        "{",
        "x" * 15,
    ):
        region(machine.m, spawn(machine.m, name, cpu=0, command=name * 3), {0: 20})
    copy = copy_of(machine.kernel)
    assert len(rows(open_text(copy.text, "copy"))) == 7
    assert yaml.safe_load(copy.text)["machine"]
    assert copy.text.isascii()
    write_copy(copy, tmp_path / "copy.yaml")
