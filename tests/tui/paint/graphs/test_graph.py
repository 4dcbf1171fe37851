"""Graphs: as large as asked, on a fixed scale, the newest on the right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from numatui.tui.paint.graphs.graph import axis, graph, titled

VALUES = st.lists(st.floats(0, 1e12), max_size=60)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@given(values=VALUES, width=st.integers(0, 30), height=st.integers(0, 6), top=st.floats(0, 1e12))
def test_it_is_as_large_as_asked(glyphs: Glyphs, values: list[float], width: int, height: int, top: float) -> None:
    lines = graph(values, width, height, top, glyphs)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)


def test_full_half_and_nothing() -> None:
    assert graph([1.0, 1.0], 1, 2, 1.0, UNICODE) == ["⣿", "⣿"]
    assert graph([0.5, 0.5], 1, 2, 1.0, UNICODE) == [" ", "⣿"]
    assert graph([0.0, 0.0], 1, 2, 1.0, UNICODE) == [" ", " "]
    assert graph([0.0, 1.0], 1, 1, 1.0, UNICODE) == ["⢸"]
    assert graph([1.0, 0.5], 2, 1, 1.0, ASCII) == ["%="]


def test_what_is_little_is_still_seen_and_the_newest_is_on_the_right() -> None:
    (line,) = graph([0.0, 0.0, 0.0, 0.001], 4, 1, 1.0, UNICODE)
    assert line == "   ⢀"


def test_the_same_value_has_the_same_height_later() -> None:
    assert graph([0.3] * 4, 2, 3, 1.0, UNICODE) == graph([0.9, 0.9, *[0.3] * 4], 2, 3, 1.0, UNICODE)


def test_levels_are_marked_beside_their_rows() -> None:
    assert axis({"min": 1.0, "low": 1.2, "high": 3.9}, 4, 4.0) == ["high", "", "low min", ""]
    assert axis({"high": 5.0}, 2, 4.0) == ["", ""]
    lines = titled([("free", "bold")], [1.0] * 99, 20, 3, 4.0, "", UNICODE, {"low": 3.0})
    assert all(bars.length(line) == 20 for line in lines[1:])
    assert lines[1][-1] == (" low", "warn")
