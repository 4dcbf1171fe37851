"""The microscope, the page that is followed, the tour, the scenarios."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.inspect.frame_map import Kind
from backend.emulator.scenario.open import open_scenario
from backend.emulator.scenario.shipped import names
from backend.emulator.study.tour import BENEFITS
from numatui.tui import start as starting
from numatui.tui.app import NumatuiApp
from numatui.tui.paint import frame_kinds
from numatui.tui.paint.glyphs import ASCII, UNICODE
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.screens.study.compare import CompareScreen
from numatui.tui.screens.study.follow import FollowScreen
from numatui.tui.screens.study.microscope import MicroscopeScreen
from numatui.tui.screens.study.scenarios import ScenariosScreen
from numatui.tui.screens.study.tour import TourScreen
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_every_kind_of_frame_has_a_letter_a_colour_and_a_name_of_its_own(glyphs: object) -> None:
    letters = [frame_kinds.letter(kind, glyphs) for kind in Kind]  # type: ignore[arg-type]
    assert len(set(letters)) == len(Kind)
    assert all(len(letter) == 1 for letter in letters)
    assert len(set(frame_kinds.ROLES.values())) == len(frame_kinds.ROLES) == len(Kind)
    assert len(set(frame_kinds.NAMES.values())) == len(Kind)
    if glyphs is ASCII:
        assert all(letter.isascii() for letter in letters)


async def microscope(app: Driver) -> MicroscopeScreen:
    await app.press("z")
    await app.screen(MicroscopeScreen)
    screen = app.app.screen
    assert isinstance(screen, MicroscopeScreen)
    await app.until(lambda: screen.seen is not None)
    return screen


async def single_frames(app: Driver, screen: MicroscopeScreen) -> None:
    await app.press_until("plus", lambda: not screen.map.shift, "single frames", most=64)
    await app.until(lambda: screen.seen is not None and screen.seen.detail is not None)


async def steps_until(app: Driver, screen: FollowScreen, condition: Callable[[], object], what: str) -> None:
    """Step by step, each one to its end."""
    for _ in range(60):
        if condition():
            return
        await app.press("enter")
        await app.until(lambda: not screen._busy, "the end of a step")
    raise AssertionError(f"{what} did not come in 60 steps:\n{app.text()}")


def small(name: str = "direct-vs-swap") -> EmulatedKernel:
    return open_scenario(name)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40)])
async def test_the_map_shows_all_of_a_node_with_the_machine_s_own_numbers(size: tuple[int, int]) -> None:
    kernel = small()
    async with driving(kernel, size=size) as app:
        screen = await microscope(app)
        zone = kernel.machine.frames.zones[0]
        assert screen.seen is not None
        assert screen.seen.cells.counts.sum() == zone.pages
        assert f"free {zone.free:,}" in app.text()
        assert f"anon {zone.pages - zone.free:,}" in app.text()
        await app.press("3")
        await app.until(lambda: f"free {kernel.machine.frames.zones[3].pages:,}" in app.text())
        await app.press("tab")
        assert screen.current == 0


async def test_zooming_stays_at_the_frame_down_to_one_and_says_what_it_is() -> None:
    kernel = small()
    async with driving(kernel, size=(80, 24)) as app:
        screen = await microscope(app)
        await app.press("right", "right")
        pfn = screen.map.cursor
        await single_frames(app, screen)
        assert screen.map.cursor == pfn
        first, count = screen.map.visible
        assert first <= pfn < first + count
        await app.until(lambda: f"pfn {pfn} " in app.text())
        assert "mapped by" in app.text()
        assert "solver" in app.text()
        for _ in range(30):
            await app.press("minus")
        assert screen.map.shift == screen.map.widest
        assert screen.map.cursor == pfn


async def test_a_migration_is_seen_while_time_goes_on() -> None:
    kernel = small()
    async with driving(kernel, size=(80, 24)) as app:
        screen = await microscope(app)
        await app.press("2")
        zone = kernel.machine.frames.zones[2]
        await app.until(lambda: f"free {zone.pages:,}" in app.text())
        for _ in range(25):
            kernel.pause(100_000_000)
        await app.until(lambda: screen.seen is not None and screen.seen.cells.counts[Kind.ANON])
        assert "aaaa" in app.text()


async def test_frames_are_coloured_by_owner_and_one_alone_is_shown() -> None:
    kernel = small()
    async with driving(kernel, size=(100, 30)) as app:
        screen = await microscope(app)
        assert "AAAA" not in app.text()
        await app.press("w")
        await app.until(lambda: screen.seen is not None and screen.seen.owned is not None)
        assert screen.seen is not None
        assert screen.seen.owned is not None
        counts = screen.seen.owned.counts
        pid = next(task.pid for task in kernel.machine.tasks.values() if task.name == b"solver")
        assert f"A {pid} solver {counts[pid]:,}" in app.text()
        assert "AAAA" in app.text()
        await app.press("enter")
        await app.until(lambda: f"only {pid} solver (Enter: all)" in app.text())
        await app.until(lambda: "AAAA" not in app.text())
        assert "████" in app.text()
        await app.press("enter")
        await app.until(lambda: "AAAA" in app.text())
        await app.press("w")
        await app.until(lambda: "aaaa" in app.text())
        await app.press("enter")
        await app.until(lambda: "only anon" in app.text())


async def test_the_mouse_tells_whose_frames_are_below_it() -> None:
    kernel = small()
    async with driving(kernel, size=(100, 30)) as app:
        screen = await microscope(app)
        await app.press("end")
        first = f"pfn {screen.map.first} to"
        assert first not in app.text()
        await app.pilot.hover(screen.map, offset=(10, 0))
        await app.until(lambda: first in app.text() and "solver" in app.text())
        await app.pilot.hover("#legend")
        await app.until(lambda: first not in app.text())


@pytest.mark.parametrize(("size", "count"), [((80, 24), 4), ((60, 30), 2), ((160, 50), 4)])
async def test_nodes_side_by_side_as_many_as_have_room(size: tuple[int, int], count: int) -> None:
    kernel = small()
    async with driving(kernel, size=size) as app:
        screen = await microscope(app)
        await app.press("number_sign")
        await app.until(lambda: len(screen.maps) == count)
        await app.until(lambda: all(one.seen is not None for one in screen.maps))
        zones = kernel.machine.frames.zones
        await app.until(lambda: f"free {sum(zones[one.node].free for one in screen.maps):,}" in app.text())
        assert all(one.map.shift == one.map.widest for one in screen.maps)
        await app.press("tab")
        assert screen.current == 1
        assert screen.map.has_focus
        await app.press("3")
        assert screen.current == 3
        assert screen.pane in screen.maps
        await app.press("number_sign")
        await app.until(lambda: [one.node for one in screen.maps] == [3])


async def test_pages_that_come_and_go_stand_out_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numatui.tui.widgets.frame_map._FRESH", 3600.0)
    kernel = small()
    async with driving(kernel, size=(160, 50)) as app:
        screen = await microscope(app)
        await app.press("number_sign")
        await app.until(lambda: all(one.seen is not None for one in screen.maps) and len(screen.maps) == 4)
        assert all(one.map._fresh is None for one in screen.maps)
        before = {one.node: one.seen.cells.kinds.copy() for one in screen.maps if one.seen is not None}
        for _ in range(25):
            kernel.pause(100_000_000)
        await app.until(lambda: all(one.seen.now == kernel.machine.now for one in screen.maps if one.seen is not None))
        came = {one.node for one in screen.maps if one.map._fresh is not None and one.map._fresh.any()}
        after = {one.node: one.seen.cells.kinds for one in screen.maps if one.seen is not None}
        assert came
        assert came <= {node for node in after if (after[node] != before[node]).any()}
        next(one for one in screen.maps if one.node in came).map._calm()
        monkeypatch.setattr(app.app, "animation_level", "none")


async def test_a_page_is_followed_through_a_migration_on_the_demo_machine() -> None:
    kernel = open_scenario("default")
    kernel.start(1.0)
    try:
        async with driving(kernel) as app:
            await single_frames(app, await microscope(app))
            await app.press("f")
            await app.screen(FollowScreen)
            assert kernel.speed == 0
            screen = app.app.screen
            assert isinstance(screen, FollowScreen)
            stage = screen.followed[0].stage
            await app.press("m", "y")
            await steps_until(app, screen, lambda: stage.note, "the end of the migration")
            assert "has returned 0" in stage.note
            assert stage.rows[-1].frame is not None
            assert stage.rows[-1].frame.node == 1
            assert "old frame: free again" in app.text()
            await app.press("up")
            assert "remap" in app.text()
            await app.press("escape")
            await app.screen(MicroscopeScreen)
            assert kernel.machine.tracer is None
            assert kernel.speed == 1.0
    finally:
        kernel.stop()


async def test_slow_motion_goes_on_by_itself_until_it_is_paused() -> None:
    async with driving(small()) as app:
        await single_frames(app, await microscope(app))
        await app.press("f")
        await app.screen(FollowScreen)
        screen = app.app.screen
        assert isinstance(screen, FollowScreen)
        stage = screen.followed[0].stage
        for _ in range(4):
            await app.press("right_square_bracket")
        await app.press("space")
        await app.until(lambda: len(stage.rows) > 3)
        await app.press("space")
        assert not screen.running
        await app.until(lambda: not screen._busy)
        before = stage.follower.boundaries
        await app.press("full_stop")
        await app.until(lambda: stage.follower.boundaries > before)
        assert stage.follower.boundaries == before + 1


async def test_nothing_to_follow_where_nothing_is_mapped() -> None:
    async with driving(small()) as app:
        await microscope(app)
        await app.press("end", "f")
        await app.until(lambda: any("nobody maps" in one for one in app.notifications()))
        assert isinstance(app.app.screen, MicroscopeScreen)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40)])
async def test_the_tour_has_a_screen_a_benefit_with_what_was_measured(size: tuple[int, int]) -> None:
    async with driving(FakeKernel(source="live"), size=size) as app:
        await app.press("ctrl+t")
        await app.screen(TourScreen)
        screen = app.app.screen
        assert isinstance(screen, TourScreen)
        for number, benefit in enumerate(BENEFITS):
            assert f"Benefit {number + 1} of 5" in app.text()
            await app.until(lambda number=number: number in screen.runs)
            page = str(screen.query_one("#page").render())
            for run in screen.runs[number]:
                assert run.name in page
            value = screen.runs[number][0].numbers[benefit.figures[-1]]
            assert not isinstance(value, int) or f"{value:,}" in page
            await app.press("space")
        assert "Where to go on" in app.text()
        await app.press("backspace")
        assert "Benefit 5 of 5" in app.text()
        await app.press("escape")
        await app.screen(ProcessesScreen)


async def test_the_tour_follows_a_page_on_both_machines_side_by_side() -> None:
    async with driving(FakeKernel(source="live")) as app:
        await app.press("ctrl+t", "f")
        await app.screen(FollowScreen)
        screen = app.app.screen
        assert isinstance(screen, FollowScreen)
        await steps_until(app, screen, lambda: screen.over, "the end of both migrations")
        direct, swap = (one.stage.rows[-1].frame for one in screen.followed)
        assert direct is not None
        assert swap is not None
        assert (direct.node, swap.node) == (3, 2)
        assert "direct-v8" in app.text()
        assert "swap-2.6.15" in app.text()


async def test_a_scenario_is_chosen_and_the_app_ends_for_it() -> None:
    async with driving(open_scenario("default"), size=(80, 24)) as app:
        await app.press("ctrl+o")
        await app.screen(ScenariosScreen)
        screen = app.app.screen
        assert isinstance(screen, ScenariosScreen)
        await app.until(lambda: screen.table.rows)
        assert [row.file for row in screen.table.rows] == names()
        assert screen.table.current is not None
        assert screen.table.current.file == "default"
        assert "virtual machine" in app.text()
        await app.press("down", "enter")
        await app.pilot.pause()
    assert app.app.next_scenario == names()[names().index("default") + 1]
    assert app.app.return_code == 0


async def test_direct_and_swap_migration_are_compared_on_a_scenario() -> None:
    async with driving(small()) as app:
        await app.press("ctrl+o")
        await app.screen(ScenariosScreen)
        await app.until(lambda: app.app.screen.table.rows)  # type: ignore[attr-defined]
        await app.press("v")
        await app.screen(CompareScreen)
        screen = app.app.screen
        assert isinstance(screen, CompareScreen)
        await app.until(lambda: screen.result is not None)
        assert screen.result is not None
        assert not screen.result.problem
        assert "arrived where asked" in app.text()


async def test_a_step_lets_a_tenth_of_a_second_pass_and_then_time_stands_still() -> None:
    kernel = open_scenario("default")
    kernel.start(1.0)
    try:
        async with driving(kernel) as app:
            await app.press("full_stop")
            assert kernel.speed == 0
            await app.app.workers.wait_for_complete()
            before = kernel.machine.now
            await app.press("full_stop")
            await app.until(lambda: kernel.machine.now == pytest.approx(before + 0.1))
    finally:
        kernel.stop()


async def test_on_a_live_machine_only_the_tour_is_offered() -> None:
    async with driving(FakeKernel(source="live")) as app:
        await app.press("z", "ctrl+o", "full_stop")
        assert isinstance(app.app.screen, ProcessesScreen)
        titles = {command.title for command in app.app.get_system_commands(app.app.screen)}
        assert "Guided tour" in titles
        assert not titles & {"Microscope", "Scenarios", "Step"}


async def test_all_of_it_is_in_the_palette_of_the_demo() -> None:
    async with driving(small()) as app:
        commands = {command.title: command for command in app.app.get_system_commands(app.app.screen)}
        assert {"Guided tour", "Microscope", "Scenarios", "Step"} <= set(commands)
        commands["Microscope"].callback()
        await app.screen(MicroscopeScreen)


async def test_letters_tell_the_frames_apart_without_colour_and_unicode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("NUMATUI_ASCII", "1")
    async with driving(small("dirty-files"), size=(80, 24)) as app:
        await microscope(app)
        assert app.text().replace("…", "").isascii()
        assert "dddd" in app.text()
        await app.press("f")
        await app.screen(FollowScreen)
        assert app.text().replace("…", "").isascii()


def test_the_chosen_scenario_is_opened_next_with_the_theme_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[NumatuiApp] = []

    def run(app: NumatuiApp) -> None:
        ran.append(app)
        if len(ran) == 1:
            app.next_scenario, app.theme = "swap-full", "numatui-light"
        if len(ran) == 2:
            app.next_scenario = "no-such-scenario"

    class Choice:
        which = "demo"

        def open(self) -> EmulatedKernel:
            return open_scenario("direct-vs-swap")

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(starting, "run", run)
    monkeypatch.setattr(starting.sys, "stdin", Terminal())
    monkeypatch.setattr(starting.sys, "stderr", Terminal())
    assert starting.start(Choice()) == 0  # type: ignore[arg-type]
    assert [app.kernel.reference for app in ran] == ["direct-vs-swap", "swap-full", "swap-full"]
    assert ran[1].theme == "numatui-light"
    assert "no-such-scenario" in ran[2].notice
