"""One process: history, one of its mappings moved alone, who shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import Static

from backend.emulator.mm.fork import fork
from backend.emulator.scenario.open import open_scenario
from backend.placement.survey import ProcessRow
from backend.process.process import Identity
from numatui.tui.model.history import MOST, Moment, PlacementHistory, sampled
from numatui.tui.paint.glyphs import UNICODE
from numatui.tui.paint.graphs.history_area import history_area
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen, VmaTable
from tests.kernels.fake_kernel import MIB, FakeKernel
from tests.tui.driver import Driver, driving
from tests.tui.model.test_filtering import ROWS


async def opened(app: Driver, pid: int) -> ProcessScreen:
    await app.press(*str(pid), "enter")
    await app.screen(ProcessScreen)
    screen = app.app.screen
    assert isinstance(screen, ProcessScreen)
    await app.until(lambda: screen.last is not None)
    return screen


async def test_one_mapping_is_moved_and_the_others_stay() -> None:
    kernel = open_scenario()
    pid = next(pid for pid, task in kernel.machine.tasks.items() if b"oracle" in task.name)
    async with driving(kernel) as app:
        screen = await opened(app, pid)
        table = screen.query_one(VmaTable)
        whole = {vma.start: dict(vma.pages) for vma in table.rows}
        assert len(whole) > 1
        await app.press("v")
        await app.screen(MigrateScreen)
        migrate = app.app.screen
        assert isinstance(migrate, MigrateScreen)
        await app.until(lambda: migrate.subjects is not None)
        assert "heap at" in app.text()
        migrate.query_one("#from").value = "0"  # type: ignore[attr-defined]
        migrate.query_one("#to").value = "2"  # type: ignore[attr-defined]
        await app.until(lambda: migrate.plan is not None and str(migrate.plan.targets) == "2")
        await app.press("enter")
        await app.screen(Question)
        assert f"--vma {table.rows[0].start:x}" in app.text()
        await app.press("y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        assert app.app.jobs[0].state == "done"
        await app.press("escape")
        await app.read()
        first, *rest = whole
        await app.until(lambda: {vma.start: dict(vma.pages) for vma in table.rows}[first] == {2: whole[first][0]})
        now = {vma.start: dict(vma.pages) for vma in table.rows}
        assert [now[start] for start in rest] == [whole[start] for start in rest]


async def test_history_shows_where_memory_went() -> None:
    kernel = FakeKernel()
    async with driving(kernel, size=(120, 40)) as app:
        await opened(app, 2100)
        heap = kernel.processes[2100].regions[1]
        for node in (1, 2, 0):
            heap.where[:] = node
            heap.moved()
            kernel.pause(1_000_000_000)
            await app.read()
        await app.until(lambda: "Memory over time" in app.text())
        screen = app.app.screen
        assert isinstance(screen, ProcessScreen)
        moments = app.app.snapshot.history[screen.process.identity]
        assert [max(one.by_node, key=lambda node: one.by_node[node]) for one in moments] == [1, 1, 2, 0]
        area = screen.query_one("#history", Static)
        roles = [role for line in history_area(moments, app.app.snapshot.at, 60, 4, UNICODE)[1:] for _, role in line]
        assert {"fill:0", "fill:1", "fill:2"} <= set(roles)
        assert str(area.visual).count("█") > 60


async def test_history_takes_the_place_of_threads_where_there_is_little_room() -> None:
    async with driving(size=(80, 24)) as app:
        await opened(app, 1200)
        assert "THREAD" in app.text()
        await app.press("i")
        assert "THREAD" not in app.text()
        assert "Memory over time" in app.text()


async def test_who_shares_a_mapping_is_told_and_can_be_gone_to() -> None:
    kernel = open_scenario()
    pid = next(pid for pid, task in kernel.machine.tasks.items() if b"oracle" in task.name)
    kernel.machine.run(fork(kernel.machine, kernel.machine.tasks[pid], "forked"))
    child = next(one for one, task in kernel.machine.tasks.items() if task.name == b"forked")
    async with driving(kernel) as app:
        screen = await opened(app, pid)
        await app.press("w")
        await app.screen(Chooser)
        assert f"{child}  forked" in app.text()
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, ProcessScreen) and app.app.screen is not screen)
        assert isinstance(app.app.screen, ProcessScreen)
        assert app.app.screen.process.pid == child


amounts = st.dictionaries(st.integers(0, 3), st.integers(0, 1 << 40), max_size=4)


def with_memory(by_node: Mapping[int, int]) -> ProcessRow:
    return replace(ROWS[0], by_node=dict(by_node))


@given(st.lists(amounts, min_size=1, max_size=30))
def test_the_history_says_of_every_time_what_was_so_within_a_hundredth(states: list[dict[int, int]]) -> None:
    history = PlacementHistory()
    identity = ROWS[0].process.identity
    for at, state in enumerate(states):
        moments = history.add(at, [with_memory(state)])[identity]
        known = moments[-1].by_node
        whole = max(1, sum(state.values()), sum(known.values()))
        assert sum(abs(known.get(node, 0) - state.get(node, 0)) for node in {*known, *state}) <= whole / 100
    assert len(moments) <= len(states)


def test_a_history_is_bounded_and_goes_with_its_process() -> None:
    history = PlacementHistory()
    identity = ROWS[0].process.identity
    for at in range(4 * MOST):
        kept = history.add(at, [with_memory({at % 4: MIB})])
        assert len(kept[identity]) <= MOST
        assert kept[identity][0].at == 0
    assert history.add(0, []) == {}


@given(
    st.lists(st.tuples(st.integers(0, 100), amounts), min_size=1, max_size=10),
    st.integers(1, 60),
    st.integers(2, 8),
)
def test_a_history_is_drawn_in_exactly_its_width(
    steps: list[tuple[int, dict[int, int]]], width: int, height: int
) -> None:
    moments = [Moment(at, state) for at, state in sorted(steps, key=lambda one: one[0])]
    states = sampled(moments, 100, width)
    assert len(states) == width
    assert states[-1] == moments[-1].by_node
    lines = history_area(moments, 100, width + 1, height, UNICODE)
    assert len(lines) == height
    for line in lines[1:]:
        assert sum(len(text) for text, _ in line) == max(width, 8) + 1


def test_another_process_with_the_same_pid_has_no_history_yet() -> None:
    history = PlacementHistory()
    history.add(0, [ROWS[0]])
    other = replace(ROWS[0], process=replace(ROWS[0].process, identity=Identity(ROWS[0].process.pid, 99)))
    assert [len(one) for one in history.add(5, [other]).values()] == [1]
