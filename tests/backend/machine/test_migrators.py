"""Who migrates: what the kernel counts, divided without counting a page twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.open import open_text
from backend.machine.migrators import BALANCING, DEMOTIONS, PROMOTION, WHOLE, by_migrator
from backend.machine.tier_view import read_tier_view
from backend.machine.topology import read_topology

COUNTS = st.integers(0, 1000)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_nothing_is_counted_twice(balanced: int, promoted: int, demoted: int, others: int) -> None:
    counters = {
        WHOLE: balanced + promoted + demoted + others, BALANCING: balanced + promoted, PROMOTION: promoted,
        DEMOTIONS[0]: demoted,
    }  # fmt: skip
    found = by_migrator(counters)
    assert found == {"balancing": balanced, "promotion": promoted, "demotion": demoted, "others": others}


@pytest.mark.parametrize(
    ("counters", "found"),
    [
        ({}, {}),
        ({"pgfault": 3}, {}),
        ({WHOLE: 7}, {"others": 7}),
        # Counters of different moments: never less than nothing.
        ({WHOLE: 7, BALANCING: 9, PROMOTION: 10}, {"balancing": 0, "promotion": 10, "others": 0}),
        ({WHOLE: 9, DEMOTIONS[3]: 4, DEMOTIONS[1]: 2}, {"demotion": 6, "others": 3}),
    ],
)
def test_what_a_kernel_does_not_count(counters: dict[str, float], found: dict[str, float]) -> None:
    assert by_migrator(counters) == found


TIERS = """
machine:
  profile: linux-7
  nodes:
    - {id: 0, memory: 64MiB, cpus: 0-1, latency: 80, bandwidth: 100000}
    - {id: 2, memory: 128MiB, latency: 300, bandwidth: 20000}
processes:
  - {name: worker, node: 0, memory: [{name: data, size: 32MiB, on: {0: 100%}}]}
run: 1s
"""


def test_an_emulated_machine_with_tiers() -> None:
    kernel = open_text(TIERS, "test")
    kernel.write("/sys/kernel/mm/numa/demotion_enabled", b"1")
    before = read_tier_view(kernel, read_topology(kernel))
    assert [[node.id for node in tier.nodes] for tier in before.tiers] == [[0], [2]]
    assert (before.demotion, before.promotes) == (True, False)
    kernel.write("/sys/devices/system/node/node0/reclaim", b"8M")
    after = read_tier_view(kernel, read_topology(kernel))
    assert after.migrated["demotion"] >= 2048
    assert after.migrated["others"] == before.migrated["others"]
    kernel.write("/proc/sys/kernel/numa_balancing", b"2")
    assert read_tier_view(kernel, read_topology(kernel)).promotes
