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


@given(st.binary(max_size=300))
def test_any_stat_is_read(raw: bytes) -> None:
    for busy, whole in parse_cpu_times(raw).values():
        assert 0 <= busy <= whole
    parse_cpu_times(b"cpu1 " + raw)


@given(st.binary(max_size=300))
def test_any_zoneinfo_is_read(raw: bytes) -> None:
    parse_watermarks(raw)
    parse_watermarks(b"Node 0, zone Normal\n" + raw)


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
