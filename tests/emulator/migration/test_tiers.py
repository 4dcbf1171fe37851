"""Memory tiers of linux-7, beside what Linux 7.2 answered in a guest with the same nodes (tests/data/tiers.json, made
by tests/guest/inside/tier_facts.py)."""

from __future__ import annotations

import errno
import json
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import MachineSpec, NodeSpec
from backend.emulator.mm.fault import touch
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.errors import ParseError
from backend.kernel import Mode
from backend.machine.access_cost import read_costs
from backend.machine.memory_tiers import read_tiers
from backend.machine.topology import read_topology
from backend.nodeset import CpuSet, NodeSet
from backend.plan.top_tier import slow_nodes
from tests import DATA
from tests.emulator.invariants import check_at_rest

MEASURED: dict[str, Any] = json.loads((DATA / "tiers.json").read_text())
PAGES = 8192
DISTANCES = {(0, 1): 21, (0, 2): 17, (1, 2): 28}


class Tiered:
    """The guest's machine: node 2 is slow memory without CPUs. A process runs on `cpu`."""

    def __init__(self, cpu: int = 0) -> None:
        nodes = [
            NodeSpec(0, 1 << 16, CpuSet([0]), 80, 102400),
            NodeSpec(1, 1 << 16, CpuSet([1]), 80, 102400),
            NodeSpec(2, 1 << 16, CpuSet(), 300, 20480),
        ]
        distances = DISTANCES | {(b, a): value for (a, b), value in DISTANCES.items()}
        self.m = boot(MachineSpec(PROFILES["linux-7"], nodes, distances, watch=True))
        self.group = Cpusets.of(self.m).create("group")
        self.task = spawn(self.m, "one", cpu=cpu, cpuset=self.group)
        self.kernel = EmulatedKernel(self.m, Caller(0, True, self.task.pid))

    def memory(self, node: int, pages: int = PAGES) -> Vma:
        vma = mmap(self.m, self.task, pages, flags=VM.WRITE)
        populate(self.m, vma, np.arange(pages, dtype=np.int64), node)
        return vma

    def on(self, vma: Vma) -> dict[str, int]:
        return {str(node): int(count) for node, count in enumerate(vma.nr_node) if count}

    def use(self, vma: Vma, index: Any = None) -> None:
        index = np.arange(vma.pages, dtype=np.int64) if index is None else index
        self.m.run(touch(self.m, self.task, self.task.leader, vma.start, index, write=True))


def read(kernel: EmulatedKernel, path: str) -> str:
    return kernel.read(path).decode().strip()


def test_the_files_are_those_of_linux() -> None:
    kernel, described = Tiered().kernel, MEASURED["described"]
    folder = "/sys/devices/virtual/memory_tiering"
    assert {name: read(kernel, f"{folder}/{name}/nodelist") for name in kernel.listdir(folder)} == described["tiers"]
    folder = "/sys/kernel/mm/mempolicy/weighted_interleave"
    assert {name: read(kernel, f"{folder}/{name}") for name in kernel.listdir(folder)} == described["weights"]
    for node, measures in described["access"].items():
        folder = f"/sys/devices/system/node/{node}/access0/initiators"
        assert {name: read(kernel, f"{folder}/{name}") for name in measures} == measures
    assert read_tiers(kernel) == {0: 4, 1: 4, 2: 84}
    assert read_costs(read_topology(kernel)).basis == "latency"


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_reclaim_of_a_cgroup_demotes(on: bool) -> None:
    one, measured = Tiered(cpu=1), MEASURED[f"demotion {'on' if on else 'off'}"]
    vma = one.memory(0)
    one.kernel.write("/sys/kernel/mm/numa/demotion_enabled", b"1" if on else b"0")
    answers: list[str] = []
    for _ in measured["answers"]:
        try:
            one.kernel.write("/sys/fs/cgroup/group/memory.reclaim", b"16M")
            answers.append("done")
        except OSError as exc:
            answers.append(errno.errorcode[exc.errno or 0])
    assert one.on(vma) == measured["pages"]
    assert one.m.counters.get("pgdemote_proactive", 0) == measured["counters"].get("pgdemote_proactive", 0)
    assert answers[-1] == measured["answers"][-1] == "EAGAIN"
    one.use(vma)
    check_at_rest(one.m)


@pytest.mark.parametrize("mode", [1, 2])
def test_pages_in_use_leave_the_slow_node(mode: int) -> None:
    one, measured = Tiered(), MEASURED[f"balancing {mode}"]
    vma = one.memory(2)
    one.kernel.write("/proc/sys/kernel/numa_balancing", b"%d" % mode)
    for _ in range(12):
        one.m.advance(0.5)
        one.m.run(one.m.balancing.tick(one.task, one.task.leader))
        one.use(vma)
    assert one.on(vma) == measured["pages"]
    promoted = {name: value for name, value in measured["counters"].items() if name.startswith("pgpromote")}
    assert {name: one.m.counters.get(name, 0) for name in promoted} == promoted
    check_at_rest(one.m)


def test_memory_tiering_leaves_what_is_not_hot_and_what_is_fast() -> None:
    one = Tiered()
    slow, far = one.memory(2), one.memory(1)
    one.kernel.write("/proc/sys/kernel/numa_balancing", b"2")
    one.use(far)
    for _ in range(4):
        one.m.advance(0.6)
        one.m.run(one.m.balancing.tick(one.task, one.task.leader))
        one.m.advance(2.0)
        one.use(slow)
        one.use(far)
    assert (one.on(slow), one.on(far)) == ({"2": PAGES}, {"1": PAGES})


def test_a_node_that_fills_up_demotes_what_is_cold() -> None:
    one = Tiered()
    one.m.demotion = True
    one.kernel.set_mempolicy(Mode.BIND, NodeSet([0]).mask(), 65)
    cold = one.memory(0, 40_000)
    rest = mmap(one.m, one.task, 30_000, flags=VM.WRITE)
    for first in range(0, 30_000, 1000):
        one.use(rest, np.arange(first, first + 1000, dtype=np.int64))
        one.m.advance(0.05)
    demoted = one.m.counters.get("pgdemote_kswapd", 0) + one.m.counters.get("pgdemote_direct", 0)
    assert demoted > 0
    assert int(cold.nr_node[2]) + int(rest.nr_node[2]) == demoted
    check_at_rest(one.m)


def test_pages_that_nobody_used_for_long_are_not_promoted() -> None:
    """They were marked long ago, however often the scan came by since."""
    one = Tiered()
    slow = one.memory(2)
    one.kernel.write("/proc/sys/kernel/numa_balancing", b"2")
    for _ in range(10):
        one.m.advance(1.1)
        one.m.run(one.m.balancing.tick(one.task, one.task.leader))
    one.m.advance(0.3)
    one.use(slow)
    assert one.on(slow) == {"2": PAGES}


def test_huge_pages_are_demoted_whole_and_as_far_as_there_is_room() -> None:
    one = Tiered()
    one.m.demotion = True
    vma = mmap(one.m, one.task, 4 * 512, flags=VM.WRITE | VM.HUGEPAGE)
    one.use(vma)
    zone = one.m.frames.zones[2]
    one.memory(2, zone.free - zone.wmark_low - 700)
    with pytest.raises(OSError) as caught:
        one.kernel.write("/sys/devices/system/node/node0/reclaim", b"64M")
    assert caught.value.errno == errno.EAGAIN
    assert one.on(vma) == {"0": 3 * 512, "2": 512}
    assert one.m.counters["pgdemote_proactive"] == 512
    assert zone.free >= zone.wmark_low


def test_a_full_fast_node_makes_room_for_what_is_hot() -> None:
    one = Tiered()
    one.m.demotion = True
    one.kernel.write("/proc/sys/kernel/numa_balancing", b"2")
    zone = one.m.frames.zones[0]
    hot = one.memory(2)
    cold = one.memory(0, zone.free - zone.wmark_high)
    for _ in range(40):
        one.m.advance(0.5)
        one.m.run(one.m.balancing.tick(one.task, one.task.leader))
        one.use(hot)
    assert int(hot.nr_node[0]) > PAGES // 2
    assert int(cold.nr_node[2]) > 0


def test_ordinary_memory_is_not_slow_beside_a_faster_node_without_cpus() -> None:
    nodes = [
        NodeSpec(0, 4096, CpuSet([0]), 80, 102400),
        NodeSpec(1, 4096, CpuSet(), 40, 409600),
        NodeSpec(2, 4096, CpuSet(), 300, 20480),
    ]
    m = boot(MachineSpec(PROFILES["linux-7"], nodes, {}))
    assert m.tiers[1] < m.tiers[0] < m.tiers[2]
    assert slow_nodes(m.tiers, [0]) == {2}


def test_one_node_is_reclaimed_as_far_as_it_goes() -> None:
    one = Tiered()
    one.m.demotion = True
    there, elsewhere = one.memory(0), one.memory(1)
    one.kernel.write("/sys/devices/system/node/node0/reclaim", b"8M")
    assert 2048 <= int(there.nr_node[2]) < PAGES
    assert one.on(elsewhere) == {"1": PAGES}
    with pytest.raises(OSError) as caught:
        one.kernel.write("/sys/devices/system/node/node0/reclaim", b"1G")
    assert caught.value.errno == errno.EAGAIN
    assert one.on(there) == {"2": PAGES}


@pytest.mark.parametrize(
    ("file", "data", "number"),
    [
        ("/sys/kernel/mm/numa/demotion_enabled", b"maybe", errno.EINVAL),
        ("/sys/kernel/mm/mempolicy/weighted_interleave/node0", b"256", errno.EINVAL),
        ("/sys/kernel/mm/mempolicy/weighted_interleave/node0", b"0", errno.EINVAL),
        ("/sys/kernel/mm/mempolicy/weighted_interleave/node9", b"1", errno.ENOENT),
        ("/sys/devices/system/node/node0/reclaim", b"much", errno.EINVAL),
        ("/proc/sys/kernel/numa_balancing", b"4", errno.EINVAL),
    ],
)
def test_bad_writes_are_refused(file: str, data: bytes, number: int) -> None:
    with pytest.raises(OSError) as caught:
        Tiered().kernel.write(file, data)
    assert caught.value.errno == number


def test_a_weight_that_is_written_ends_the_automatic_ones() -> None:
    kernel, folder = Tiered().kernel, "/sys/kernel/mm/mempolicy/weighted_interleave"
    kernel.write(f"{folder}/node0", b"5\n")
    assert (read(kernel, f"{folder}/node0"), read(kernel, f"{folder}/auto")) == ("5", "false")
    kernel.write(f"{folder}/auto", b"1")
    assert (read(kernel, f"{folder}/node0"), read(kernel, f"{folder}/auto")) == ("7", "true")


def test_a_description_has_tiers() -> None:
    text = """
machine:
  profile: {profile}
  nodes:
    - {{id: 0, memory: 64MiB, cpus: 0, latency: 80, bandwidth: 102400}}
    - {{id: 1, memory: 64MiB, latency: 300, bandwidth: 20480}}
  numa_balancing: tiering
  demotion: on
"""
    made = parse_description(text.format(profile="linux-7"))
    assert (made.numa_balancing, made.demotion) == (2, True)
    with pytest.raises(ParseError, match="no memory tiers"):
        parse_description(text.format(profile="linux-6"))
