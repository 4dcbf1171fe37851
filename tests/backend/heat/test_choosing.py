"""What is hot and what is cold, and whole huge pages of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.heat.choosing import Chosen, HeatWish, Which, choose, whole_pages
from backend.heat.heat import Heat, HeatRange

HUGE = 8


def heat(*ranges: HeatRange, pid: int = 1) -> Heat:
    return Heat(pid, "damon", 1.0, 2, 0.0, ranges)


def one(start: int, hot: float, rate: float = 0.0, age: float = 0.0, node: int = 0) -> HeatRange:
    return HeatRange(start, start + 100, "a", 1000, int(1000 * hot), 0, 1000, {node: 1000}, rate, age)


def starts(chosen: list[Chosen]) -> list[int]:
    return [some.start for some in chosen]


def test_the_hottest_first() -> None:
    found = heat(one(0, 1, 10), one(100, 0), one(200, 1, 200), one(300, 0.4, 90), one(400, 1, 50))
    assert starts(choose([found], HeatWish("hot"), {0})) == [200, 400, 0]
    assert starts(choose([found], HeatWish("hot", rate=49), {0})) == [200, 400]


def test_what_was_not_used_for_the_longest_first() -> None:
    found = heat(one(0, 0, age=1), one(100, 0.1), one(200, 0, age=9))
    assert starts(choose([found], HeatWish("cold"), {0})) == [200, 0]


def test_of_several_processes_and_only_where_it_lies_on_the_sources() -> None:
    first, second = heat(one(0, 1, 10), one(100, 1, 30, node=1)), heat(one(0, 1, 20), pid=2)
    assert [(some.pid, some.start) for some in choose([first, second], HeatWish("hot"), {0})] == [(2, 0), (1, 0)]
    assert [(some.pid, some.start) for some in choose([first, second], HeatWish("hot"), {1})] == [(1, 100)]


def pages(chosen: list[Chosen]) -> list[int]:
    return [page for some in chosen for page in range(some.start, some.end)]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=6),
    st.sampled_from(["hot", "cold"]),
)
def test_whole_huge_pages(gaps: list[tuple[int, int]], wanted: list[tuple[int, int]], which: Which) -> None:
    mappings: list[tuple[int, int]] = []
    at = 0
    for gap, length in gaps:
        mappings.append((at + gap, at + gap + length))
        at += gap + length
    chosen = [Chosen(1, start, start + length) for start, length in wanted]
    found = pages(whole_pages(chosen, {1: mappings}, HUGE, which))
    mapped = {page for low, high in mappings for page in range(low, high)}
    asked = set(pages(chosen)) & mapped
    assert len(found) == len(set(found))
    assert set(found) <= mapped
    if which == "hot":
        assert asked <= set(found)
    else:
        assert set(found) <= asked
    # Of a huge page within one mapping all pages are in, or none.
    for low, high in mappings:
        for huge in range(-(-low // HUGE) * HUGE, high // HUGE * HUGE, HUGE):
            inside = {page in set(found) for page in range(huge, huge + HUGE)}
            assert len(inside) == 1
