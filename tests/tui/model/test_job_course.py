"""The course of a job: nothing is lost however long it takes, and it is never longer than it should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numatui.tui.model.job_course import FIRST, MOST, JobCourse
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from numatui.tui.paint.graphs.job_graphs import job_graphs

CALLS = st.lists(
    st.tuples(st.integers(1, 10**11), st.integers(0, 1 << 30), st.integers(0, 10**9), st.integers(1, 8)),
    min_size=1,
    max_size=40,
)
"""(nanoseconds since the one before, bytes, nanoseconds of the call, workers)"""


def course_of(calls: list[tuple[int, int, int, int]]) -> tuple[JobCourse, int]:
    course, at, moved = JobCourse(), 0, 0
    for later, amount, call, workers in calls:
        at, moved = at + later, moved + amount
        course.add(at, moved, call, workers)
    return course, moved


@given(CALLS)
def test_all_bytes_and_the_longest_call_are_in_it(calls: list[tuple[int, int, int, int]]) -> None:
    course, moved = course_of(calls)
    assert len(course.rates) == len(course.calls) == len(course.workers) <= MOST
    assert sum(course.rates) * course.step / 1e9 == pytest.approx(moved, rel=1e-6, abs=1e-3)
    assert max(course.calls) * 1e9 == pytest.approx(max(call for _, _, call, _ in calls))
    assert max(course.workers) == max(workers for *_, workers in calls)


def test_what_a_long_call_moved_is_spread_over_its_time() -> None:
    course = JobCourse()
    course.add(4 * FIRST, 400, 4 * FIRST, 2)
    assert len(set(course.rates)) == 1
    assert course.workers == [2.0] * 5


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@given(calls=CALLS, width=st.integers(30, 200), height=st.integers(4, 10))
def test_graphs_are_as_large_as_asked(
    glyphs: Glyphs, calls: list[tuple[int, int, int, int]], width: int, height: int
) -> None:
    lines = job_graphs(course_of(calls)[0], width, height, glyphs)
    assert len(lines) == height
    assert len({bars.length(line) for line in lines}) == 1
    assert bars.length(lines[0]) <= width + 2
