"""Areas of nodes over time: as large as asked, full columns for the largest state, the lowest node at the bottom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from numatui.tui.paint.graphs.area import stacked

STATES = st.lists(st.dictionaries(st.integers(0, 9), st.integers(0, 1 << 40), max_size=5), max_size=20)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@given(states=STATES, height=st.integers(1, 8), plain=st.booleans())
def test_it_is_as_large_as_asked(glyphs: Glyphs, states: list[dict[int, int]], height: int, plain: bool) -> None:
    top = max((sum(state.values()) for state in states), default=0)
    lines = stacked(states, height, top, glyphs, plain)
    assert len(lines) == height
    assert all(bars.length(line) == len(states) for line in lines)
    if top and not plain and glyphs is UNICODE:
        largest = max(range(len(states)), key=lambda at: sum(states[at].values()))
        assert all(line[largest][0] != " " for line in lines)


def test_nodes_lie_on_each_other_and_meet_within_a_cell() -> None:
    assert stacked([{0: 50, 1: 50}], 2, 100, UNICODE) == [[("█", "fill:1")], [("█", "fill:0")]]
    assert stacked([{0: 25, 1: 75}], 2, 100, UNICODE) == [[("█", "fill:1")], [("▄", "over:0.1")]]
    assert stacked([{0: 25}], 2, 100, UNICODE) == [[(" ", "")], [("▄", "fill:0")]]
    assert stacked([{0: 50, 1: 50}], 2, 100, ASCII) == [[("1", "ink:1")], [("0", "ink:0")]]
