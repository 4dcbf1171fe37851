"""The log of what was done, in this session and in others."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from backend.journal.past_job import JournaledPart, PastJob
from backend.plan.remap import Move
from backend.process.process import Identity
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.log import LogScreen, LogTable, entry_of, past_entry
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.state.actions import MOST, Action, Actions
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving


async def migrate(app: Driver, text: str = "train") -> None:
    await app.press("slash", *text, "enter", "m")
    await app.screen(MigrateScreen)
    screen = app.app.screen
    assert isinstance(screen, MigrateScreen)
    await app.until(lambda: screen.plan is not None)
    await app.press("enter")
    await app.screen(Question)
    await app.press("y")
    await app.screen(JobScreen)
    await app.until(lambda: app.app.jobs[-1].ended)
    await app.press("escape")


async def test_what_was_done_is_there_with_its_command_and_result() -> None:
    async with driving() as app:
        await app.press("l")
        await app.screen(LogScreen)
        assert "nothing was done yet" in app.text()
        await app.press("escape")
        await migrate(app)
        await app.press("l")
        await app.screen(LogScreen)
        await app.until(lambda: "done, 1.5G moved" in app.text())
        assert "2100 from 1 to 3" in app.text()
        await app.press("y")
        assert app.app.clipboard == "numatui --demo default migrate 2100 --from 1 --to 3"


async def test_a_job_of_an_earlier_session_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("backend.placement.readers.PATIENCE", 3600.0)
    kernel = FakeKernel(source="live")
    before = kernel.processes[2100].counts().tolist()
    async with driving(kernel) as app:
        await migrate(app)
    assert kernel.processes[2100].counts().tolist() != before
    async with driving(kernel) as app:
        await app.press("l")
        await app.screen(LogScreen)
        await app.until(lambda: "earlier" in app.text())
        assert "numatui undo" in app.text()
        await app.press("u")
        await app.screen(Question)
        await app.press("y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        assert app.app.jobs[0].state == "done"
        assert not app.app.jobs[0].can_be_undone
        assert kernel.processes[2100].counts().tolist() == before
        del kernel.processes[2100]
        await app.press("escape", "l")
        await app.screen(LogScreen)
        await app.read()
        await app.until(lambda: "undone" in app.text())


async def test_one_whose_process_has_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("backend.placement.readers.PATIENCE", 3600.0)
    kernel = FakeKernel(source="live")
    async with driving(kernel) as app:
        await migrate(app)
    del kernel.processes[2100]
    async with driving(kernel) as app:
        await app.press("l")
        await app.until(lambda: "earlier" in app.text())
        await app.press("u")
        await app.until(lambda: app.notifications())
        assert "no process 2100" in app.notifications()[0]


def test_text_from_outside_is_harmless() -> None:
    hostile = "\x1b[31m[red]\u202e" + "x" * 2000
    part = JournaledPart(Identity(5, 1), (0, 0), hostile, (Move(0, 1),))
    job = PastJob("1", Path("/x"), time.time(), "", "move_pages", (part,), "done", 5)
    for entry in (entry_of(Action(hostile, hostile, hostile)), past_entry(job)):
        for text in (entry.what, entry.result, entry.command):
            assert text.isprintable()
            assert len(text) < 1000
            assert not re.search("[\x1b\u202e]", text)


def test_the_log_is_bounded() -> None:
    actions = Actions()
    for number in range(MOST + 5):
        actions.record(f"action {number}")
    assert len(actions.all) == MOST
    assert actions.all[-1].title == f"action {MOST + 4}"


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (200, 60)])
async def test_any_size_of_terminal_works(size: tuple[int, int]) -> None:
    async with driving(size=size) as app:
        await migrate(app)
        await app.press("l")
        await app.screen(LogScreen)
        await app.until(lambda: app.app.screen.query_one(LogTable).rows)
        assert "WHAT" in app.text()
        assert len(app.lines()) == size[1]
