"""What the profile linux-7 does otherwise than linux-6."""

from __future__ import annotations

import errno
from array import array

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import MachineSpec, NodeSpec
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import PTE_PROTNONE, VM
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.description import parse_description
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.errors import ParseError
from backend.kernel import Mode
from backend.nodeset import CpuSet, NodeSet
from backend.placement.pagemap import PageMap


class One:
    """A machine of two nodes, one CPU each, with a process on the first."""

    def __init__(self, profile: str) -> None:
        nodes = [NodeSpec(node, 4096, CpuSet([node])) for node in range(2)]
        self.m = boot(MachineSpec(PROFILES[profile], nodes, {}))
        self.task = spawn(self.m, "one", cpu=0)
        self.kernel = EmulatedKernel(self.m, Caller(0, True, self.task.pid))

    def map(self, pages: int, touched: list[int]) -> int:
        vma = mmap(self.m, self.task, pages, flags=VM.WRITE)
        self.m.run(touch(self.m, self.task, self.task.leader, vma.start, np.array(touched, np.int64), write=True))
        return vma.start

    def where(self, start: int, pages: int) -> list[int]:
        status = array("i", [99] * pages)
        addresses = array("Q", range(start, start + pages * 4096, 4096))
        self.kernel.move_pages(self.task.pid, addresses, None, status, 0)
        return list(status)


@pytest.mark.parametrize(("profile", "seen"), [("linux-6", -errno.ENOENT), ("linux-7", 0)])
def test_move_pages_sees_what_balancing_has_marked(profile: str, seen: int) -> None:
    one = One(profile)
    start = one.map(2, [0, 1])
    assert one.task.mm is not None
    one.task.mm.vmas[-1].pte[0] |= PTE_PROTNONE
    assert one.where(start, 2) == [seen, 0]


def test_weighted_interleave_follows_the_weights() -> None:
    one = One("linux-7")
    one.m.weights = {0: 3, 1: 1}
    one.kernel.set_mempolicy(Mode.WEIGHTED_INTERLEAVE, NodeSet([0, 1]).mask(), 65)
    start = one.map(8, list(range(8)))
    assert sorted(one.where(start, 8)) == [0] * 6 + [1] * 2
    assert b"weighted interleave:0-1 anon=8" in one.kernel.read(f"/proc/{one.task.pid}/numa_maps")
    with pytest.raises(OSError) as caught:
        One("linux-6").kernel.set_mempolicy(Mode.WEIGHTED_INTERLEAVE, NodeSet([0]).mask(), 65)
    assert caught.value.errno == errno.EINVAL


def test_pagemap_scan_tells_the_populated_ranges() -> None:
    one = One("linux-7")
    start = one.map(64, [3, 4, 5, 60])
    reached, raw = one.kernel.pagemap_scan(one.task.pid, start, start + 64 * 4096, 8)
    ranges = np.frombuffer(raw, np.uint64).reshape(-1, 3).tolist()
    assert reached == start + 64 * 4096
    assert [((low - start) // 4096, (high - start) // 4096) for low, high, _ in ranges] == [(3, 6), (60, 61)]
    reached, raw = one.kernel.pagemap_scan(one.task.pid, start, start + 64 * 4096, 1)
    assert ((reached - start) // 4096, len(raw)) == (60, 24)
    with pytest.raises(OSError) as caught:
        One("linux-6").kernel.pagemap_scan(1, 0, 4096, 1)
    assert caught.value.errno == errno.ENOTTY


def test_pagemap_scan_of_somebody_elses_process_is_refused() -> None:
    one = One("linux-7")
    other = EmulatedKernel(one.m, Caller(1000, False, 99))
    with pytest.raises(OSError) as caught:
        other.pagemap_scan(one.task.pid, 0, 4096, 1)
    assert caught.value.errno == errno.EACCES


def test_a_process_has_weighted_interleave_where_the_kernel_has_it() -> None:
    machine = "machine: {profile: %s, nodes: [{id: 0, memory: 64MiB, cpus: 0}]}"
    text = f"{machine}\nprocesses: [{{name: a, policy: weighted-interleave:0}}]"
    assert parse_description(text % "linux-7").processes
    with pytest.raises(ParseError, match="no weighted interleave"):
        parse_description(text % "linux-6")


def test_a_sparse_mapping_is_found_by_it() -> None:
    one = One("linux-7")
    start = one.map(1 << 16, [7, 40_000])
    pages = PageMap(one.kernel, one.task.pid, None)
    found = [
        int(address - start) // 4096 for part in pages.walk(start, start + (1 << 28)) for address in part.addresses
    ]
    assert found == [7, 40_000]


def test_it_has_no_cpusets_of_v1() -> None:
    machine = "{profile: linux-7, cgroups: v1, nodes: [{id: 0, memory: 64MiB, cpus: 0}]}"
    with pytest.raises(ParseError, match="has no cgroups 'v1'"):
        parse_description(f"name: x\nmachine: {machine}\n")
