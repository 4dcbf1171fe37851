"""Memory goes offline and comes back block by block, by steps of a scenario or through sysfs."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.frames.memory_block import block_frames, blocks_of
from backend.emulator.mm.fault import touch
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

MEMORY = "/sys/devices/system/memory"


def refused(kernel: EmulatedKernel, number: int, data: bytes) -> int | None:
    try:
        kernel.write(f"{MEMORY}/memory{number}/state", data)
    except OSError as exc:
        return exc.errno
    return None


def test_a_block_is_emptied_and_comes_back_while_the_rest_of_the_node_goes_on() -> None:
    m = machine("linux-6", pages=200)
    kernel = EmulatedKernel(m)
    assert int(kernel.read(f"{MEMORY}/block_size_bytes"), 16) == 128 * 4096
    names = [name for name in kernel.listdir("/sys/devices/system/node/node1") if name.startswith("memory")]
    first, second = (int(name.removeprefix("memory")) for name in names)
    task = spawn(m, "t", cpu=2)
    vma = region(m, task, {1: 40}, pages=90)
    assert refused(kernel, first, b"offline\n") is None
    assert kernel.read(f"{MEMORY}/memory{first}/state") == b"offline\n"
    assert not (block_frames(m.frames, first)[:, None] == vma.pfns(np.arange(40))).any()
    assert nodes_of(m, vma)[:40] == [1] * 40, "there is room on the rest of the node"
    assert m.memory_nodes.mask() == machine("linux-6").memory_nodes.mask()
    m.run(touch(m, task, task.leader, vma.start, np.arange(90, dtype=np.int64), write=True))
    check_at_rest(m)
    assert refused(kernel, first, b"0") == errno.EINVAL, "it is offline already"
    assert refused(kernel, second, b"offline") is None
    assert 1 not in m.memory_nodes
    assert 1 not in nodes_of(m, vma)
    check_at_rest(m)
    assert refused(kernel, first, b"online") is None
    assert 1 in m.memory_nodes
    assert m.frames.zones[1].free == 128
    check_at_rest(m)


def test_a_pinned_page_keeps_its_block_and_only_root_may_ask() -> None:
    m = machine("linux-6", pages=256)
    kernel = EmulatedKernel(m)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 10})
    pfn = int(vma.pfns(np.array([3]))[0])
    m.locks.get_page(pfn)
    assert refused(kernel, pfn // m.frames.block_pages, b"offline") == errno.EBUSY
    m.locks.put_page(pfn)
    check_at_rest(m)
    assert refused(EmulatedKernel(m, Caller(1000, False)), 1, b"offline") == errno.EACCES
    assert refused(kernel, 1, b"away") == errno.EINVAL
    assert refused(kernel, 4711, b"offline") == errno.ENOENT
    assert set(kernel.listdir(f"{MEMORY}/memory1")) >= {"state", "removable"}


def test_the_last_block_of_the_machine_stays() -> None:
    m = machine("linux-6", nodes=1, pages=256)
    assert refused(EmulatedKernel(m), blocks_of(m.frames, 0)[0], b"offline") == errno.EINVAL


def test_blocks_in_a_scenario() -> None:
    text = (
        "machine:\n  nodes:\n    - {id: 0, memory: 300MiB, cpus: 0}\n    - {id: 1, memory: 300MiB, cpus: 1}\n"
        "steps:\n  - {at: 1s, offline: {node: 1, block: 0}}\n  - {at: 2s, offline: {node: 1, block: 2}}\n"
        "  - {at: 3s, offline: {node: 1, block: 3}}\n  - {at: 4s, online: {node: 1, block: 0}}\n"
    )
    report = run_scenario(parse_description(text))
    assert [step["errno"] for step in report["steps"]] == [None, None, "ENOENT", None]
    assert report["nodes"][1]["kept_out"] == (300 - 256) * 256


@pytest.mark.parametrize("name", ["state", "phys_index"])
def test_every_block_is_of_the_node_that_its_frames_are_of(name: str) -> None:
    m = machine("linux-6", pages=200)
    kernel = EmulatedKernel(m)
    for node in m.nodes:
        for number in blocks_of(m.frames, node):
            assert kernel.read(f"/sys/devices/system/node/node{node}/memory{number}/{name}")
            assert set(m.frames.nid[block_frames(m.frames, number)].tolist()) == {node}
