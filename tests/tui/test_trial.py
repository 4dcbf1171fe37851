"""What surprised somebody who knows htop and had read nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Button

from backend.emulator.scenario.open import open_scenario
from backend.recording.kernel import RecordedKernel
from numatui.tui.screens.cgroups import CgroupsScreen
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.log import LogScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.screens.study.follow import FollowScreen
from numatui.tui.screens.study.microscope import MicroscopeScreen
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving
from tests.tui.recordings import record_demo


@pytest.mark.parametrize("size", [(80, 24), (60, 15), (200, 60)])
async def test_a_long_question_scrolls_and_its_buttons_are_seen(size: tuple[int, int]) -> None:
    async with driving(size=size) as app:
        app.app.push_screen(Question("Move?", [f"line {number}" for number in range(80)], "Migrate", "x " * 500))
        await app.screen(Question)
        await app.pilot.pause()
        assert "Migrate (y)" in app.text()
        assert "No (n)" in app.text()
        assert "line 3" in app.text()
        for _ in range(5):
            await app.press("down")
        assert "line 0 " not in app.text()
        assert isinstance(app.app.focused, Button)


async def test_a_followed_process_is_moved_after_a_question_and_the_log_has_it() -> None:
    async with driving(open_scenario("direct-vs-swap")) as app:
        await app.press("z")
        await app.screen(MicroscopeScreen)
        await app.until(lambda: app.app.screen.seen is not None)  # type: ignore[attr-defined]
        await app.press("f")
        await app.screen(FollowScreen)
        await app.press("m")
        await app.screen(Question)
        assert "Move all memory of solver from node 0 to node 1?" in app.text()
        await app.press("n")
        await app.screen(FollowScreen)
        assert not app.app.actions.all
        await app.press("m", "y")
        await app.until(lambda: app.app.actions.all)
        await app.press("escape", "escape", "l")
        await app.screen(LogScreen)
        assert "solver: migrate_pages from node 0 to node 1" in app.text()


@pytest.mark.parametrize(("key", "kind"), [("c", CgroupsScreen)])
async def test_escape_goes_back_to_where_the_processes_were_chosen(key: str, kind: type) -> None:
    async with driving(open_scenario()) as app:
        await app.press(key)
        await app.screen(kind)
        await app.until(lambda: "system.slice" in app.text())
        await app.press("j", "enter")
        await app.screen(ProcessesScreen)
        assert app.table.listing.filter.text
        await app.press("escape")
        await app.screen(kind)
        await app.press("escape")
        await app.screen(ProcessesScreen)
        assert not app.table.listing.filter.text


async def test_a_wrong_word_is_told_while_it_is_typed() -> None:
    async with driving() as app:
        await app.press("slash", *"loca<50")
        await app.until(lambda: "there is no loca" in app.text())
        await app.press("backspace", "backspace", "backspace", *"l<50")
        await app.until(lambda: "there is no" not in app.text())


async def test_hidden_nodes_leave_a_hint() -> None:
    async with driving() as app:
        await app.press("number_sign", "number_sign")
        await app.until(lambda: "nodes hidden (#)" in app.text())
        await app.press("number_sign")
        await app.until(lambda: "nodes hidden" not in app.text())


async def test_one_notification_at_a_time_but_errors_stay() -> None:
    async with driving(FakeKernel(), notifications=True) as app:
        app.app.tell("first")
        await app.until(lambda: app.notifications() == ["first"])
        app.app.tell("second")
        await app.until(lambda: app.notifications() == ["second"])
        app.app.tell("wrong", severity="error")
        await app.until(lambda: app.notifications() == ["wrong"])
        app.app.tell("third")
        await app.until(lambda: app.notifications() == ["wrong", "third"])


async def test_a_recording_that_jumps_knows_what_is_measured_over_time(tmp_path: Path) -> None:
    recording = RecordedKernel(record_demo(tmp_path / "demo.tar", 12))
    async with driving(recording, size=(140, 40)) as app:
        await app.press("right_curly_bracket")
        await app.until(lambda: app.app.snapshot.at == recording.samples[10].at)
        await app.press("comma")
        await app.until(lambda: app.app.snapshot.at == recording.samples[9].at)
        assert all(row.load is not None for row in app.app.snapshot.rows)
        assert app.app.snapshot.activity.busy
        assert len(app.app.trends.local) > 1
        await app.press("period", "m")
        await app.until(lambda: "stall 10 ms" in app.text())
        assert "holds the process's memory map" not in app.text()
