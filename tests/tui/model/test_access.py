"""Threads against memory: shares are whole, the cost is that of the table, and only what is far is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.machine.access_cost import AccessCosts
from backend.placement.survey import ProcessRow
from numatui.tui.model.access import access_of
from numatui.tui.paint import bars
from numatui.tui.paint.access_matrix import access_matrix
from tests.tui.model.test_filtering import ROWS

COSTS = AccessCosts({(a, b): 10.0 if a == b else 20.0 for a in range(4) for b in range(4)}, "distance")
PLACES = st.dictionaries(st.integers(0, 3), st.floats(0.01, 1), min_size=1, max_size=4)
HELD = st.dictionaries(st.integers(0, 3), st.integers(0, 1 << 40), max_size=4)


def row(places: dict[int, float], held: dict[int, int]) -> ProcessRow:
    whole = sum(places.values())
    return replace(ROWS[0], runs_on={node: share / whole for node, share in places.items()}, by_node=held)


@given(st.lists(st.tuples(PLACES, HELD), max_size=4))
def test_shares_are_whole_and_the_cost_is_that_of_all_together(some: list[tuple[dict[int, float], dict[int, int]]]):
    access = access_of(row(*one) for one in some)
    total = sum(sum(held.values()) for _, held in some)
    assert access.total == pytest.approx(total)
    if not total:
        assert access.cost(COSTS) is None
        return
    shares = {(a, b): access.share(a, b) for a in access.running for b in access.holding}
    assert sum(shares.values()) == pytest.approx(1)
    local = sum(share for (a, b), share in shares.items() if a == b)
    cost = access.cost(COSTS)
    assert cost == pytest.approx(2 - local)
    whole = access.spent(COSTS)
    lost = sum(access.lost(a, b, COSTS, whole) for a, b in shares)
    assert cost is not None
    assert lost == pytest.approx(1 - 1 / cost)
    assert all(access.lost(node, node, COSTS, whole) == 0 for node in access.running)


@given(PLACES, HELD, st.integers(24, 80), st.integers(3, 8))
def test_the_matrix_has_room(places: dict[int, float], held: dict[int, int], width: int, height: int) -> None:
    lines = access_matrix(access_of([row(places, held)]), COSTS, width, height)
    assert 1 <= len(lines) <= height
    assert all(bars.length(line) <= width for line in lines[1:])


def test_what_is_local_is_cool_and_what_is_far_is_hot() -> None:
    lines = access_matrix(access_of([row({0: 1.0}, {0: 100, 3: 300})]), COSTS, 60, 8)
    roles = [role for _, role in lines[2]]
    assert roles == ["ink:0", "heat:0", "heat:9"]
    assert [text.strip() for text, _ in lines[2]] == ["node 0", "25%", "75%"]
    assert any("1.75x" in text for text, _ in lines[0])
