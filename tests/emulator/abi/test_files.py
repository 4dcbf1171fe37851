"""The emulated machine's files: what renders must parse to what the machine is."""

from __future__ import annotations

import os

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.abi.procfs import listdir
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import touch
from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.machine.topology import read_topology
from backend.placement.numa_maps import parse_totals, read_placement
from backend.placement.survey import Surveyor
from backend.process.process import read_process, read_threads
from backend.recording.kernel import RecordedKernel
from tests.emulator.machines import machine, region


def files(m: Machine, path: str = "") -> list[str]:
    """All files below a folder, as the machine lists them."""
    try:
        names = listdir(m, path or "/")
    except OSError:
        return [path]
    return [name for one in names for name in files(m, f"{path}/{one}")]


def test_an_exported_tree_says_what_the_machine_says(tmp_path) -> None:
    m = machine("linux-6", pages=512)
    task = spawn(m, "oltp", cpu=3, uid=7, command="oltp -x", threads=[5])
    region(m, task, {0: 20, 2: 30}, kind="heap")
    kernel = EmulatedKernel(m)
    for path in files(m):
        if path.endswith("/pagemap"):
            continue
        where = tmp_path / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(kernel.read(path))
    recorded = RecordedKernel(tmp_path)
    assert read_topology(recorded) == read_topology(kernel)
    assert read_placement(recorded, task.pid, with_maps=True) == read_placement(kernel, task.pid, with_maps=True)
    rows = Surveyor(recorded, read_topology(recorded)).read()
    assert [(row.process.pid, row.by_node) for row in rows] == [(task.pid, {0: 20 * 4096, 2: 30 * 4096})]


def test_a_process_reads_back() -> None:
    m = machine()
    task = spawn(m, b"a) (\n\xff", cpu=3, uid=7, command="x -y", threads=[5])
    m.users[7] = "seven"
    process = read_process(EmulatedKernel(m), task.pid)
    assert process.comm == "a) (\n\udcff"
    assert (process.command, process.uid, process.user, process.cpu, process.threads) == (
        "x -y",
        7,
        "seven",
        3,
        2,
    )
    assert [thread.cpu for thread in read_threads(EmulatedKernel(m), task.pid)] == [3, 5]


def test_numa_maps_follows_every_touch() -> None:
    m = machine()
    task = spawn(m, "t", cpu=4)
    vma = region(m, task, {}, pages=10)
    kernel = EmulatedKernel(m)
    assert parse_totals(kernel.read(f"/proc/{task.pid}/numa_maps")) == {}
    m.run(touch(m, task, task.leader, vma.start, np.arange(6, dtype=np.int64), write=True))
    assert parse_totals(kernel.read(f"/proc/{task.pid}/numa_maps")) == {2: 6 * 4096}
    assert kernel.read(f"/proc/{task.pid}/numa_maps").decode() == (
        f"{vma.start:x} default anon=6 dirty=6 active=0 N2=6 kernelpagesize_kB=4\n"
    )


def test_pagemap_tells_what_is_resident_and_the_frame_to_the_privileged_only() -> None:
    m = machine()
    task = spawn(m, "t", cpu=0, uid=5)
    vma = region(m, task, {0: 3}, pages=5)
    offset = vma.start // 4096 * 8
    entries = np.frombuffer(EmulatedKernel(m).read(f"/proc/{task.pid}/pagemap", offset, 40), np.uint64)
    assert [int(entry) >> 63 for entry in entries] == [1, 1, 1, 0, 0]
    assert [int(entry) & 0xFFFFFF for entry in entries[:3]] == vma.pfns(np.arange(3)).tolist()
    own = np.frombuffer(EmulatedKernel(m, Caller(5, False)).read(f"/proc/{task.pid}/pagemap", offset, 40), np.uint64)
    assert [int(entry) & 0xFFFFFF for entry in own] == [0] * 5


def test_strangers_do_not_see_placements() -> None:
    m = machine()
    task = spawn(m, "t", cpu=0, uid=5)
    region(m, task, {0: 3})
    stranger = EmulatedKernel(m, Caller(6, False))
    with pytest.raises(PermissionError):
        stranger.read(f"/proc/{task.pid}/numa_maps")
    (row,) = Surveyor(stranger, read_topology(stranger)).read()
    assert row.by_node is None
    assert row.local is None


@pytest.mark.parametrize(
    "path",
    [
        "/proc/4711/stat",
        "/proc/1/nothing",
        "/sys/devices/system/node/node9/meminfo",
        "/nothing",
        "/proc/1/task/77/stat",
        "",
    ],
)
def test_what_is_not_there_is_enoent(path: str) -> None:
    m = machine()
    spawn(m, "t", cpu=0)
    with pytest.raises(FileNotFoundError):
        EmulatedKernel(m).read(path)


def test_the_demo_shows_its_point_within_ten_seconds() -> None:
    """Throughput falls when the scheduler moves the database away, and comes back when its pages follow."""
    kernel = open_scenario()
    m = kernel.machine
    topology = read_topology(kernel)

    (pid,) = [task.pid for task in m.tasks.values() if task.name == b"oracle"]

    def oracle() -> tuple[int, float | None]:
        (row,) = Surveyor(kernel, topology).read(lambda process: process.pid == pid)
        rates = dict(line.split() for line in kernel.read("/proc/numatui/throughput").decode().splitlines())
        return int(rates[str(pid)]), row.local

    m.advance(2)
    before, local = oracle()
    assert local is not None
    assert local > 0.9
    m.advance(8)
    away, local = oracle()
    assert local == 0
    assert away < before * 0.6
    from backend.nodeset import NodeSet

    kernel.migrate_pages(pid, 65, NodeSet([0, 1]).mask(), NodeSet([3]).mask())
    m.advance(1)
    after, local = oracle()
    assert local == 1
    assert after > away * 1.5


def test_time_runs_in_the_background_and_stops() -> None:
    kernel = open_scenario("scheduler-moves")
    try:
        kernel.start(50.0)
        while kernel.clock() < 1_000_000_000:
            os.sched_yield()
    finally:
        kernel.stop()
    stopped = kernel.clock()
    assert kernel.clock() == stopped


def test_a_machine_that_breaks_down_while_time_runs_is_not_silent() -> None:
    kernel = open_scenario("scheduler-moves")

    def broken():
        yield kernel.machine.env.timeout(0.1)
        raise ValueError("broken")

    kernel.machine.env.process(broken())
    kernel.start(50.0)
    assert kernel._clockwork is not None
    kernel._clockwork.join()
    with pytest.raises(RuntimeError, match="broke down"):
        kernel.read("/proc/stat")
