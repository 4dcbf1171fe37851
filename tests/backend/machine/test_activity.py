"""How busy nodes are, and what is allocated and migrated, between two readings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.open import open_scenario
from backend.machine.activity import Meter, parse_cpu_times
from backend.machine.topology import Watermarks, parse_watermarks, read_topology


def test_cpu_times_are_those_of_the_file() -> None:
    raw = b"cpu  9 9 9 9\ncpu0 10 1 2 80 7 3 4 5 100 100\ncpu12 1 0 0 9 0 0 0 0 0 0\nintr 5\n"
    assert parse_cpu_times(raw) == {0: (10 + 1 + 2 + 3 + 4 + 5, 112), 12: (1, 10)}


@given(st.binary(max_size=300).filter(lambda raw: b"cpu7" not in raw), st.lists(st.integers(0, 10**17), max_size=12))
def test_a_cpu_is_read_whatever_else_is_in_stat(raw: bytes, ticks: list[int]) -> None:
    line = b"cpu7 " + b" ".join(b"%d" % one for one in ticks) + b"\n"
    for text in (raw + b"\n" + line, line + raw, line + b"cpu1 " + raw):
        found = parse_cpu_times(text)
        assert all(0 <= busy <= whole for busy, whole in found.values())
        if len(ticks) < 5:
            assert 7 not in found
        else:
            assert found[7] == (sum(ticks[:3]) + sum(ticks[5:8]), sum(ticks[:8]))


DAMAGED = [
    b"Node", b"Node 5", b"Node 5, zone", b"Node x, zone DMA", b"Node -1, zone DMA", b"Node 5, space DMA",
    b"min", b"low x", b"low -7", b"low 7 7", b"high \xb2", b"lower 7", b"\xff\xfe",
]  # fmt: skip
"""Lines that are neither the head of a zone nor a watermark."""
MARKS = ("min", "low", "high")
heads = st.integers(0, 3).map(lambda node: ("Node", node))
marks = st.tuples(st.sampled_from(MARKS), st.integers(0, 1 << 40))
noise = st.sampled_from(DAMAGED) | st.binary(max_size=30).filter(
    lambda raw: b"\n" not in raw and raw.split()[:1] not in ([b"Node"], [b"min"], [b"low"], [b"high"])
)


@given(st.lists(heads | marks | noise, max_size=20))
def test_watermarks_are_summed_whatever_else_is_in_zoneinfo(lines: list[tuple[str, int] | bytes]) -> None:
    raw = b""
    sums: dict[int, dict[str, int]] = {}
    node = None
    for line in lines:
        if isinstance(line, bytes):
            raw += line + b"\n"
        elif line[0] == "Node":
            node = line[1]
            raw += b"Node %d, zone   Normal\n" % node
        else:
            mark, pages = line
            raw += b"        %s      %d\n" % (mark.encode(), pages)
            if node is not None:
                of_node = sums.setdefault(node, dict.fromkeys(MARKS, 0))
                of_node[mark] += pages
    assert parse_watermarks(raw) == {node: Watermarks(**found) for node, found in sums.items()}


def test_watermarks_are_summed_by_node() -> None:
    raw = (
        b"Node 0, zone DMA\n  min 1\n  low 2\n  high 3\nNode 0, zone Normal\n  min 10\n  low 20\n  high 30\nNode "
        b"1, zone Normal\n  low 7\n"
    )
    assert parse_watermarks(raw) == {0: Watermarks(11, 22, 33), 1: Watermarks(0, 7, 0)}


def test_rates_are_what_the_counters_grew_by() -> None:
    kernel = open_scenario()
    topology = read_topology(kernel)
    meter = Meter()
    assert not meter.read(kernel, topology, 0).rates
    moved = 400
    kernel.machine.count("pgmigrate_success", moved)
    node = topology.nodes[1]
    grown = replace(node, numastat={**node.numastat, "numa_miss": node.numastat["numa_miss"] + 30})
    after = replace(topology, nodes=(topology.nodes[0], grown, *topology.nodes[2:]))
    activity = meter.read(kernel, after, 2_000_000_000)
    assert activity.machine["pgmigrate_success"] == pytest.approx(moved / 2)
    assert activity.rates[1]["numa_miss"] == pytest.approx(15)
    assert activity.rates[0]["numa_miss"] == 0


def test_the_load_of_a_node_is_that_of_its_cpus() -> None:
    kernel = open_scenario()
    topology, meter = read_topology(kernel), Meter()
    kernel.machine.advance(1.0)
    meter.read(kernel, topology, 0)
    before = dict.fromkeys(topology.node_of_cpu, 0.0)
    for task in kernel.machine.tasks.values():
        for thread in task.threads:
            before[thread.cpu] -= int(thread.ticks)
    kernel.machine.advance(2.0)
    for task in kernel.machine.tasks.values():
        for thread in task.threads:
            before[thread.cpu] += int(thread.ticks)
    activity = meter.read(kernel, topology, 2_000_000_000)
    assert set(activity.busy) == set(topology.ids)
    assert all(0 <= share <= 1 for share in activity.busy.values())
    assert any(activity.busy.values())


def test_a_counter_that_went_back_is_no_rate() -> None:
    kernel = open_scenario()
    topology, meter = read_topology(kernel), Meter()
    kernel.machine.count("pgmigrate_success", 50)
    meter.read(kernel, topology, 0)
    kernel.machine.counters["pgmigrate_success"] = 3
    assert meter.read(kernel, topology, 1_000_000_000).machine["pgmigrate_success"] == 0
