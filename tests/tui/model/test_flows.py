"""What moved between nodes, from two readings: never more than the kernel says it migrated."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from backend.placement.survey import ProcessRow
from numatui.tui.model.flows import FlowMeter, Flows
from tests.tui.model.test_filtering import ROWS

SECOND = 10**9
AMOUNTS = st.dictionaries(st.integers(0, 3), st.integers(0, 1 << 30), max_size=4)


def with_memory(by_node: dict[int, int]) -> ProcessRow:
    return replace(ROWS[0], by_node=by_node)


def between(before: dict[int, int], after: dict[int, int], migrated: float, seconds: int = 1) -> Flows:
    meter = FlowMeter()
    assert meter.add(SECOND, [with_memory(before)], migrated) == {}
    return meter.add((1 + seconds) * SECOND, [with_memory(after)], migrated)


def test_what_left_one_node_for_another() -> None:
    assert between({0: 100, 1: 50}, {0: 40, 1: 50, 3: 60}, 1e9) == {(0, 3): 60.0}
    assert between({0: 100}, {0: 40, 3: 60}, 1e9, seconds=2) == {(0, 3): 30.0}


def test_what_was_freed_or_allocated_did_not_move() -> None:
    assert between({0: 100, 1: 50}, {0: 40, 1: 50}, 1e9) == {}
    assert between({0: 100}, {0: 100, 1: 50}, 1e9) == {}
    assert between({0: 100}, {0: 0, 1: 10}, 1e9) == {(0, 1): 10.0}


def test_without_migrations_nothing_moved() -> None:
    assert between({0: 100}, {1: 100}, 0.0) == {}


@example({0: 0, 1: 2}, {0: 2}, 5e-324, 3)
@given(AMOUNTS, AMOUNTS, st.floats(0, 1e10), st.integers(1, 10))
def test_never_more_than_was_migrated(
    before: dict[int, int], after: dict[int, int], migrated: float, seconds: int
) -> None:
    flows = between(before, after, migrated, seconds)
    assert sum(flows.values()) <= migrated * 1.000001
    assert all(source != target and rate > 0 for (source, target), rate in flows.items())
    for node in range(4):
        out = sum(rate for (source, _), rate in flows.items() if source == node) * seconds
        assert out <= max(0, before.get(node, 0) - after.get(node, 0)) * 1.000001


def test_a_pid_of_another_process_is_not_compared() -> None:
    meter = FlowMeter()
    meter.add(SECOND, [with_memory({0: 100})], 1e9)
    other = replace(ROWS[1], by_node={1: 100})
    assert meter.add(2 * SECOND, [other], 1e9) == {}
