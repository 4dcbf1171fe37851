"""The list of advice, and doing what it says."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import pytest

from backend.emulator.scenario.open import open_scenario
from numatui.tui.screens.advice import AdviceScreen, AdviceTable, worth
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.migrate import MigrateScreen
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving


async def advised(app: Driver, seconds: int = 8) -> AdviceScreen:
    """The screen, after the machine was watched for so long."""
    for _ in range(seconds):
        app.app.kernel.pause(1_000_000_000)
        await app.read()
    await app.press("a")
    await app.screen(AdviceScreen)
    screen = app.app.screen
    assert isinstance(screen, AdviceScreen)
    await app.until(lambda: screen._done)
    return screen


async def test_what_is_advised_can_be_done_and_is_then_done() -> None:
    kernel = open_scenario()
    async with driving(kernel) as app:
        screen = await advised(app)
        advice = screen.query_one(AdviceTable).current
        assert advice is not None
        assert advice.proposal is not None
        assert f"{advice.proposal.ratio:.2f}x" in app.text()
        assert f"migrate {advice.process.pid} --from {advice.proposal.sources}" in app.text()
        await app.press("y")
        assert app.app.clipboard.endswith(f"--to {advice.proposal.targets}")
        await app.press("enter")
        await app.screen(MigrateScreen)
        migrate = app.app.screen
        assert isinstance(migrate, MigrateScreen)
        await app.until(lambda: migrate.plan is not None)
        assert (migrate.sources, migrate.targets) == (advice.proposal.sources, advice.proposal.targets)
        await app.press("enter")
        await app.screen(Question)
        await app.press("y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        assert app.app.jobs[0].moved == advice.proposal.bytes
        await app.press("escape")
        await app.screen(AdviceScreen)
        await app.read()
        await app.until(
            lambda: all(one.process.identity != advice.process.identity or one.proposal is None for one in screen.items)
        )


async def test_those_that_are_not_advised_say_why_not() -> None:
    async with driving(open_scenario()) as app:
        screen = await advised(app)
        count = len(screen.query_one(AdviceTable).rows)
        await app.press("A")
        table = screen.query_one(AdviceTable)
        assert len(table.rows) == len(screen.items) > count
        await app.press("G")
        row = table.current
        assert row is not None
        await app.until(lambda: row.reasons[0].code in app.text())
        await app.press("enter")
        assert app.app.screen is screen
        assert any("Nothing is advised" in one for one in app.notifications())


async def test_before_it_was_watched_long_enough_it_says_so() -> None:
    async with driving(open_scenario()) as app:
        await advised(app, seconds=0)
        assert "still watched" in app.text()
        assert "nothing to move" in app.text()


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (200, 60)])
async def test_any_size_of_terminal_works(size: tuple[int, int]) -> None:
    async with driving(open_scenario(), size=size) as app:
        await advised(app)
        assert "GAIN" in app.text()
        assert len(app.lines()) == size[1]


async def test_a_machine_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "broken [red]pipe")

    monkeypatch.setattr("numatui.tui.screens.advice.Adviser.advise", broken)
    async with driving(FakeKernel()) as app:
        await app.press("a")
        await app.until(lambda: app.notifications())
        assert "the kernel cannot be read" in app.notifications()[0]
        assert isinstance(app.app.screen, AdviceScreen)


async def test_all_that_is_advised_is_one_job_with_its_total_before_and_one_undo() -> None:
    kernel = open_scenario()
    async with driving(kernel, size=(160, 50)) as app:
        screen = await advised(app)
        before = app.app.snapshot.local or 0.0
        proposals = [one for one in screen.items if one.proposal is not None]
        assert len(proposals) > 2
        await app.press("D")
        await app.screen(Question)
        question = app.app.screen
        assert isinstance(question, Question)
        first = question.lines[0]
        assert first.startswith(f"local {before * 100:.0f}% → ")
        assert "longest wait" in first
        assert all(any(str(one.process.pid) in line for line in question.lines) for one in proposals)
        promised = int(first.split("→ ")[1].split("%")[0])
        assert promised > before * 100
        await app.press("enter")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        (job,) = app.app.jobs
        assert job.state == "done"
        assert {one.process.pid for one in job.parts} == {one.process.pid for one in proposals}
        await app.read()
        assert abs((app.app.snapshot.local or 0.0) * 100 - promised) <= 1, "what it came to is what was said"
        await app.press("u")
        await app.screen(Question)
        await app.press("enter")
        await app.until(lambda: len(app.app.jobs) == 2 and app.app.jobs[1].ended)
        await app.read()
        assert abs((app.app.snapshot.local or 0.0) - before) < 0.01


async def test_of_tagged_ones_only_these_are_moved() -> None:
    async with driving(open_scenario(), size=(160, 50)) as app:
        screen = await advised(app)
        second = screen.query_one(AdviceTable).rows[1]
        await app.press("down", "space")
        assert "1 tagged" in app.text()
        await app.press("D")
        await app.screen(Question)
        await app.press("enter")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        assert [one.process.pid for one in app.app.jobs[0].parts] == [second.process.pid]


async def test_what_saves_most_stands_first() -> None:
    async with driving(open_scenario()) as app:
        screen = await advised(app)
        values = [worth(one) for one in screen.query_one(AdviceTable).rows]
        assert values == sorted(values, reverse=True)


async def test_of_a_machine_where_nothing_is_advised_nothing_is_asked() -> None:
    async with driving(open_scenario()) as app:
        screen = await advised(app, seconds=0)
        await app.press("D")
        assert app.app.screen is screen
        assert any("nothing to move" in one for one in app.notifications())
