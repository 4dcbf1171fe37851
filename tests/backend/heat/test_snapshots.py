"""What was seen several times, put together: as a page-by-page account says."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from backend.heat.kdamond import Region
from backend.heat.snapshots import combine

REGIONS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 8), st.integers(0, 20), st.integers(0, 9)), max_size=8
)  # gap, length, accesses, age


def regions(parts: list[tuple[int, int, int, int]]) -> list[Region]:
    out: list[Region] = []
    at = 0
    for gap, length, accesses, age in parts:
        out.append(Region(at + gap, at + gap + length, accesses, age))
        at += gap + length
    return out


@given(st.lists(st.lists(REGIONS.map(regions), min_size=1, max_size=3), min_size=1, max_size=3))
def test_as_page_by_page(windows: list[list[list[Region]]]) -> None:
    stretches = combine(windows)
    assert all(one.end <= other.start for one, other in itertools.pairwise(stretches))
    for page in range(120):
        seen = [one for window in windows for some in window for one in some if one.start <= page < one.end]
        found = [one for one in stretches if one.start <= page < one.end]
        assert len(found) == (1 if seen else 0)
        if seen:
            hot = tuple(
                any(one.accesses > 0 for some in window for one in some if one.start <= page < one.end)
                for window in windows
            )
            assert found[0].hot == hot


@given(REGIONS.map(regions))
def test_rates_are_kept_on_the_whole(one: list[Region]) -> None:
    stretches = combine([[one]])
    asked = sum((region.end - region.start) * region.accesses * 10 for region in one)
    assert abs(sum((some.end - some.start) * some.rate for some in stretches) - asked) < 1e-6 * (1 + asked)
