"""What bench measured: kept whole and privately, and never trusted further than it can be read."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NumatuiError
from backend.job.bench import Way, pairs, ways
from backend.machine.topology import Node, Topology
from backend.nodeset import CpuSet, NodeSet
from backend.plan.rates import Rate, best_rates, likely_rates, load_rates, save_rates, worst_stall
from numatui.cli.move.bench import advice

FAST = Rate(0, 1, False, "move_pages", 2, 1 << 24, 900, 3_000_000)
SLOW = Rate(0, 1, False, "move_pages", 1, 1 << 24, 500, 4_000_000)
HUGE = Rate(0, 1, True, "move_pages", 2, 1 << 24, 5000, 1_000_000)
WHOLE = Rate(1, 0, False, "migrate_pages", 1, 0, 700, 600_000_000)
ALL = [FAST, SLOW, HUGE, WHOLE]


def test_a_round_trip_for_this_machine_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "numatui" / "rates.json"
    save_rates(path, "6.1 0-1", ALL)
    assert load_rates(path, "6.1 0-1") == ALL
    assert load_rates(path, "6.2 0-1") == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    save_rates(path, "6.1 0-1", [SLOW])
    assert load_rates(path, "6.1 0-1") == [SLOW]
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "rates.json"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    assert load_rates(path, "x") == []
    save_rates(path, "x", ALL)
    assert elsewhere.read_text() == "precious"
    assert load_rates(path, "x") == ALL


def test_what_cannot_be_kept_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NumatuiError, match="XDG_STATE_HOME"):
        save_rates(tmp_path / "file" / "rates.json", "x", ALL)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(raw: bytes) -> None:
    path = Path(f"/tmp/numatui-rates-{os.getpid()}")
    path.write_bytes(raw)
    try:
        assert load_rates(path, "x") == []
    finally:
        path.unlink()


@given(
    st.sampled_from(sorted(asdict(FAST))),
    st.one_of(
        st.none(),
        st.booleans(),
        st.text(max_size=3),
        st.floats(),
        st.integers(max_value=-1),
        st.just(1 << 70),
        st.lists(st.integers()),
    ),
)
def test_a_measurement_with_anything_wrong_is_no_measurement(key: str, value: Any) -> None:
    if key == "huge" and isinstance(value, bool):
        return
    path = Path(f"/tmp/numatui-rates-{os.getpid()}")
    document = {"numatui-rates": 1, "machine": "x", "rates": [{**asdict(FAST), key: value}]}
    path.write_text(json.dumps(document))
    try:
        assert load_rates(path, "x") == []
    finally:
        path.unlink()


def test_estimates_take_the_best_of_small_pages_by_method() -> None:
    assert best_rates(ALL, "auto") == {(0, 1): 900}
    assert best_rates(ALL, "migrate_pages") == {(1, 0): 700}
    assert worst_stall(ALL, "auto") == 4_000_000
    assert worst_stall([], "auto") == 0


def test_the_ways_that_are_compared_follow_the_cpus() -> None:
    assert max(way.workers for way in ways(1, quick=False)) == 1
    assert {way.workers for way in ways(5, quick=False)} == {1, 2, 4}
    assert ways(1, quick=True) == [Way("migrate_pages", 1, 0), Way("move_pages", 1, 8 << 20)]
    assert pairs(NodeSet([0, 1, 2]), NodeSet([1, 2])) == [(0, 1), (0, 2), (1, 2)]
    assert pairs(NodeSet([1]), NodeSet([1])) == []


def test_the_advice_is_what_the_figures_say() -> None:
    assert advice(ALL) == [
        "2 workers are 1.8 × as fast as one",
        "migrate_pages holds a process up for 600 ms, move_pages for 4 ms at most",
    ]
    assert advice([SLOW, Rate(0, 1, False, "move_pages", 2, 1, 400, 1)]) == [
        "one worker is enough: more are not faster here"
    ]
    assert advice([HUGE]) == []


class TestLikely:
    """What is reckoned with between nodes that were not measured."""

    def line(self, count: int) -> Topology:
        """Nodes in a row: 10, 20, 30 … apart."""
        nodes = [
            Node(a, CpuSet([a]), {"MemTotal": 1 << 30}, {b: 10 + 10 * abs(a - b) for b in range(count)})
            for a in range(count)
        ]
        return Topology(tuple(nodes), {a: a for a in range(count)}, CpuSet(), {})

    def test_the_slowest_over_the_same_distance_else_over_the_nearest(self) -> None:
        best = {(0, 1): 900, (1, 0): 800, (0, 2): 500}
        likely = likely_rates(best, self.line(5))
        assert {pair: likely[pair] for pair in best} == best
        assert likely[2, 1] == likely[1, 2] == 800
        assert likely[2, 0] == likely[3, 1] == 500
        assert likely[0, 4] == likely[0, 3] == 500

    def test_nothing_measured_is_nothing_known(self) -> None:
        assert likely_rates({}, self.line(3)) == {}
