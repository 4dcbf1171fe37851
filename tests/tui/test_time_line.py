"""The time line of a recording: what it shows, where it goes when it is clicked or dragged, two samples compared."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.nodeset import NodeSet
from backend.process.control import send_signal
from backend.process.page_calls import call_migrate_pages
from backend.process.process import read_process
from backend.recording.kernel import RecordedKernel
from backend.recording.manifest import Sample
from backend.recording.timeline import Events
from numatui.tui.model.course import Course, Point, order
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from numatui.tui.paint.time_line import TimeLineState, draw
from numatui.tui.reading.reader import Reader
from numatui.tui.screens.study.samples_compared import SamplesComparedScreen
from numatui.tui.widgets.time_line import TimeLine
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving
from tests.tui.recordings import record_demo

MOVES, ENDS = 6, 24  # pid of ora_dbw0_PROD, of nginx
TIMES = st.lists(st.integers(0, 1 << 50), min_size=2, max_size=60).map(sorted)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five samples. Memory is moved before the third, a process ends before the fourth."""

    def before(kernel: EmulatedKernel, number: int) -> None:
        if number == 2:
            call_migrate_pages(kernel, MOVES, NodeSet([0]), NodeSet([2]))
        if number == 3:
            send_signal(kernel, read_process(kernel, ENDS).identity, signal.SIGKILL)

    return record_demo(tmp_path_factory.mktemp("recording") / "moved.tar", 5, before)


def course(times: list[int]) -> Course:
    return Course([Sample(at, 0.0) for at in times], [Events(number % 3, number % 2) for number in range(len(times))])


@given(st.integers(0, 3000), st.integers(0, 300))
def test_the_samples_to_look_at_are_all_or_spread_evenly_and_none_twice(samples: int, most: int) -> None:
    found = order(samples, most)
    assert len(found) == len(set(found)) == min(samples, most)
    if found:
        assert found[:2] == [0, samples - 1][: len(found)]
        gaps = {b - a for a, b in zip(sorted(found), sorted(found)[1:], strict=False)}
        assert len(gaps) <= 2


@given(times=TIMES, width=st.integers(2, 300))
def test_each_sample_has_a_cell_and_a_click_on_it_leads_to_the_last_in_it(times: list[int], width: int) -> None:
    one = course(times)
    cells = [one.cell_of(number, width) for number in range(len(times))]
    assert cells == sorted(cells)
    assert cells[0] == 0
    assert cells[-1] == (width - 1 if times[-1] > times[0] else 0)
    for number, cell in enumerate(cells):
        found = one.sample_at(cell, width)
        assert found >= number
        assert one.cell_of(found, width) == cell
    assert [one.sample_at(cell, width) for cell in range(width)] == sorted(
        one.sample_at(cell, width) for cell in range(width)
    )


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@given(times=TIMES, width=st.integers(1, 200), height=st.integers(3, 6), data=st.data())
def test_its_lines_are_as_wide_as_the_screen(
    glyphs: Glyphs, times: list[int], width: int, height: int, data: st.DataObject
) -> None:
    one, some = course(times), st.integers(0, len(times) - 1)
    shares = st.none() | st.floats(0, 1)
    one.points = data.draw(st.dictionaries(some, st.builds(Point, shares, st.integers(0, 1 << 40))))
    state = TimeLineState(one, data.draw(some), data.draw(some | st.just(-1)), data.draw(some | st.just(-1)), 4096)
    lines = draw(state, width, height, glyphs)
    assert len(lines) == height
    assert all(bars.length(line) <= width for line in lines)
    assert all(bars.length(line) == width for line in lines[1:])
    if glyphs is ASCII:
        assert "".join(text for line in lines for text, _ in line).isascii()


async def test_it_shows_the_course_with_marks(recording: Path) -> None:
    async with driving(RecordedKernel(recording), size=(140, 40)) as app:
        await app.until(lambda: app.app.course is not None and len(app.app.course.points) == 5, "all samples are known")
        line = app.app.screen.query_one(TimeLine)
        heading, *_, marks = app.lines()[line.region.y : line.region.bottom]
        assert "0:00 of 0:04  sample 1/5  stands still (= plays)  local" in heading
        cells = {number: app.app.course.cell_of(number, line.size.width) for number in range(5)}
        assert marks[cells[2]] == "▶"
        assert marks[cells[3]] == "-"
        assert marks[cells[1]] == "─"
        await app.pilot.hover(TimeLine, offset=(cells[2], 1))
        await app.until(lambda: "sample 3/5" in app.lines()[line.region.y])
        assert "1.2G moved" in app.lines()[line.region.y]
        await app.pilot.hover(TimeLine, offset=(cells[3], 1))
        await app.until(lambda: "1 ended" in app.lines()[line.region.y])


async def test_it_is_clicked_and_dragged(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel, size=(140, 40)) as app:
        line = app.app.screen.query_one(TimeLine)
        cells = [app.app.course.cell_of(number, line.size.width) for number in range(5)]
        await app.pilot.click(TimeLine, offset=(cells[3], 1))
        await app.until(lambda: app.app.snapshot.at == kernel.samples[3].at, "sample 4 is shown")
        await app.pilot.mouse_down(TimeLine, offset=(cells[3], 1))
        await app.pilot.hover(TimeLine, offset=(cells[2], 1))
        await app.pilot.hover(TimeLine, offset=(cells[1], 1))
        await app.pilot.mouse_up(TimeLine, offset=(cells[1], 1))
        await app.until(lambda: app.app.snapshot.at == kernel.samples[1].at, "sample 2 is shown")
        await app.pilot.hover(TimeLine, offset=(cells[4], 1))
        await app.read()
        assert kernel.at == 1


async def test_two_samples_are_compared(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel, size=(140, 40), notifications=True) as app:
        await app.press("full_stop")
        await app.until(lambda: app.app.snapshot.at == kernel.samples[1].at)
        await app.press("apostrophe")
        await app.until(lambda: "marked here" in app.text())
        await app.press("apostrophe")
        assert app.app.marked == -1
        await app.press("apostrophe", "right_curly_bracket")
        await app.until(lambda: app.app.snapshot.at == kernel.samples[4].at)
        await app.press("apostrophe")
        await app.screen(SamplesComparedScreen)
        await app.until(lambda: "ora_dbw0" in app.text())
        assert "sample 2 at 0:01  → sample 5 at 0:04" in app.text()
        moved = next(line for line in app.lines() if "ora_dbw0" in line)
        assert moved.split()[-4:] == ["-1.2G", ".", "+1.2G", "."]
        assert "ended" in next(line for line in app.lines() if f" {ENDS} " in line)
        assert "1.2G migrated" in app.text()
        await app.press("apostrophe")
        await app.until(lambda: not isinstance(app.app.screen, SamplesComparedScreen))
        assert app.app.marked == -1


async def test_there_is_none_without_a_recording() -> None:
    async with driving(FakeKernel(), notifications=True) as app:
        assert not app.app.screen.query_one(TimeLine).display
        await app.press("apostrophe")
        await app.until(lambda: any("no recording with several samples" in one for one in app.notifications()))


def test_only_a_jump_looks_at_the_samples_before(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    reader = Reader(kernel, None)  # type: ignore[arg-type]
    assert len(reader.read()) == 1
    kernel.seek(3)
    assert [one.at for one in reader.read()] == [one.at for one in kernel.samples[:4]]
    kernel.seek(0)
    reader.read()
    kernel.seek(3)
    kernel.settle()
    kernel.speed = 1e-9
    assert [one.at for one in reader.read()] == [kernel.samples[3].at]


async def test_it_goes_on_where_it_was_left_for_a_copy(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel) as before:
        await before.until(lambda: before.app.course is not None and len(before.app.course.points) == 5)
    course = before.app.course
    assert course is not None
    kept = {number: course.points.pop(number) for number in (2, 3)}
    async with driving(kernel, before=before.app) as after:
        assert after.app.course is course
        await after.until(lambda: len(course.points) == 5, "the rest is looked at")
    assert {number: course.points[number] for number in kept} == kept
