"""Cells of a map: they add up to what the ranges say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.heat.grid import by_mapping, cells
from backend.heat.heat import HeatRange


def one(start: int, end: int, resident: int, hot: int, mapping: int = 0) -> HeatRange:
    return HeatRange(start, end, "a", resident, hot, hot, hot, {}, mapping=mapping)


PARTS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400), st.floats(0.1, 1), st.floats(0, 1)), max_size=12)


@given(PARTS, st.integers(1, 40))
def test_nothing_is_lost(parts: list[tuple[int, int, float, float]], count: int) -> None:
    ranges: list[HeatRange] = []
    at = 0
    for gap, length, full, hot in parts:
        resident = int(length * full * 1000)
        ranges.append(one(at + gap, at + gap + length, resident, int(resident * hot)))
        at += gap + length
    for cell in cells(ranges, 0, max(1, at), count):
        assert cell is None or -1e-9 <= cell <= 1 + 1e-9


def test_halves() -> None:
    ranges = [one(0, 100, 100, 100), one(100, 200, 100, 0)]
    assert cells(ranges, 0, 200, 4) == [1.0, 1.0, 0.0, 0.0]
    assert cells(ranges, 0, 200, 1) == [0.5]
    assert cells(ranges, 0, 400, 4) == [1.0, 0.0, None, None]


def test_by_mapping() -> None:
    ranges = [one(0, 10, 5, 5, 0), one(10, 20, 5, 0, 0), one(20, 30, 7, 1, 20)]
    assert [(some.start, some.end, some.resident, some.hot) for some in by_mapping(ranges)] == [
        (0, 20, 10, 5), (20, 30, 7, 1),
    ]  # fmt: skip
