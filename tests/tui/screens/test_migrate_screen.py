"""Choosing nodes, the plan that is shown, starting, jobs, cancelling, recordings."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.widgets import Input

from backend.emulator.scenario.open import open_scenario
from backend.nodeset import NodeSet
from backend.plan.plan import METHODS
from backend.plan.remap import remap
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.jobs import JobsScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.processes import ProcessesScreen
from numatui.tui.widgets.node_map import NodeMap
from tests.kernels.fake_kernel import MIB, FakeKernel
from tests.tui.driver import Driver, driving


async def choose(app: Driver, text: str) -> MigrateScreen:
    """Open the migrate screen for what a filter finds first."""
    await app.press("slash", *text, "enter", "m")
    return await planned(app)


async def planned(app: Driver) -> MigrateScreen:
    await app.screen(MigrateScreen)
    screen = app.app.screen
    assert isinstance(screen, MigrateScreen)
    await app.until(lambda: screen.subjects is not None)
    return screen


@asynccontextmanager
async def choosing(text: str = "train", **options: Any) -> AsyncIterator[tuple[Driver, MigrateScreen]]:
    """An app with the migrate screen open for what a filter finds first. `options`: of `driving`."""
    async with driving(**options) as app:
        yield app, await choose(app, text)


@asynccontextmanager
async def moving(kernel: FakeKernel) -> AsyncIterator[Driver]:
    """An app with the screen of a job that moves what was proposed."""
    async with choosing(kernel=kernel) as (app, _):
        await app.press("enter", "y")
        await app.screen(JobScreen)
        yield app


async def test_proposes_to_bring_memory_to_where_the_process_runs() -> None:
    async with choosing() as (app, screen):
        assert (str(screen.sources), str(screen.targets)) == ("1", "3")
        assert screen.plan is not None
        assert screen.plan.bytes == 1536 * MIB
        shown = app.text()
        assert "393,216 pages" in shown
        assert "runs here" in shown
        assert "2.1G free → 598M" in shown


async def test_several_tagged_processes_move_together() -> None:
    async with driving() as app:
        await app.press("slash", *"redis", "enter", "space", "space", "escape", "m")
        screen = await planned(app)
        assert [one.process.pid for one in screen.subjects or []] == [1300, 1301]
        assert "2 processes: 1300 1301" in app.text()


async def test_arrows_follow_the_kernels_rule_while_nodes_are_chosen() -> None:
    async with choosing("search.jar") as (app, screen):
        node_map = screen.query_one(NodeMap)
        node_map.focus()
        screen.sources, screen.targets = NodeSet(), NodeSet()
        await app.press("left", "0", "1", "right", "2", "3")
        assert screen.plan is not None
        assert screen.plan.moves == remap(NodeSet([0, 1]), NodeSet([2, 3]))
        assert sum("▶" in line for line in app.lines()) == 2
        await app.press("3")
        assert str(screen.targets) == "2"
        assert screen.plan.moves == remap(NodeSet([0, 1]), NodeSet([2]))
        assert sum("▶" in line for line in app.lines()) == 1
        assert "┴" in app.text() or "├" in app.text()


async def test_nodes_can_be_chosen_with_space_and_mouse() -> None:
    async with choosing() as (app, screen):
        await app.press("left", "up", "up", "up", "space")
        assert 0 in screen.sources
        await app.pilot.click(NodeMap, offset=(5, 3))
        await app.pilot.pause()
        assert 2 in screen.sources
        await app.pilot.click(NodeMap, offset=(90, 3))
        await app.pilot.pause()
        assert 2 in screen.targets


async def test_sets_can_be_typed_in_libnumas_grammar() -> None:
    async with choosing() as (app, screen):
        await app.press("f")
        field = screen.query_one("#from", Input)
        assert field.has_focus
        field.value = "!3"
        await app.pilot.pause()
        assert str(screen.sources) == "0-2"
        field.value = "1-"
        await app.pilot.pause()
        assert "'1-'" in app.text()
        field.value = "7"
        await app.pilot.pause()
        assert "there is no node 7" in app.text()
        await app.press("enter")
        assert screen.query_one(NodeMap).has_focus


async def test_escape_takes_back_what_is_wrong_and_enter_says_what_it_is() -> None:
    async with choosing() as (app, screen):
        before = str(screen.sources)
        field = screen.query_one("#from", Input)
        await app.press("f", "home", "x")
        await app.until(lambda: "is not a node set" in app.text())
        await app.press("escape")
        await app.until(lambda: "is not a node set" not in app.text())
        assert field.value == str(screen.sources) == before
        await app.press("f", "home", "x", "enter", "enter")
        await app.until(lambda: any("is not a node set" in one for one in app.notifications()))


async def test_each_option_has_its_key_before_it_where_there_is_room() -> None:
    async with choosing(size=(120, 40)) as (app, _):
        assert "o method auto" in app.text()
        assert "w workers auto" in app.text()


async def test_an_empty_set_says_what_is_missing() -> None:
    async with choosing() as (app, screen):
        await app.press("left", "1")
        assert screen.plan is None
        assert "choose the nodes to move from" in app.text()
        await app.press("enter")
        assert isinstance(app.app.screen, MigrateScreen)


async def test_warns_of_too_little_room() -> None:
    async with choosing() as (app, screen):
        await app.press("right", "3", "2")
        assert screen.plan is not None
        assert [one.code for one in screen.plan.warnings][:1] == ["room"]
        assert "MiB short" in app.text()
        assert "choose more targets" in app.text()


async def test_method_and_shared_pages_are_part_of_the_command() -> None:
    async with choosing() as (app, _):
        await app.press("o", "o", "A", "enter")
        await app.screen(Question)
        assert "numatui --demo default migrate 2100 --from 1 --to 3 --method migrate_pages --all" in app.text()


async def test_asks_first_and_no_moves_nothing() -> None:
    kernel = FakeKernel()
    async with choosing(kernel=kernel) as (app, _):
        await app.press("enter")
        await app.screen(Question)
        assert "numatui --demo default migrate 2100 --from 1 --to 3" in app.text()
        await app.press("n")
        assert isinstance(app.app.screen, MigrateScreen)
        assert kernel.calls == 0
        await app.press("escape")
        assert isinstance(app.app.screen, ProcessesScreen)


async def test_moves_and_shows_before_and_after() -> None:
    kernel = FakeKernel()
    async with moving(kernel) as app:
        await app.until(lambda: app.app.jobs[0].ended)
        job = app.app.jobs[0]
        assert job.state == "done"
        assert job.moved == 1536 * MIB
        assert kernel.processes[2100].counts()[1] == 0
        await app.until(lambda: "after" in app.text())
        shown = app.text()
        assert "before" in shown
        assert "100%" in shown
        assert "1.5G → ." in shown
        await app.press("escape")
        await app.until(lambda: app.table.rows[0].local == 1.0)


class SlowKernel(FakeKernel):
    """Every move waits to be let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)

    def move_pages(self, pid, pages, nodes, status, flags):
        if nodes is not None:
            assert self.gate.acquire(timeout=60)
        return super().move_pages(pid, pages, nodes, status, flags)


async def test_a_job_can_be_cancelled_and_says_what_was_left() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        kernel.gate.release(2)
        await app.until(lambda: app.app.jobs[0].moved)
        await app.press("x")
        kernel.gate.release(100_000)
        await app.until(lambda: app.app.jobs[0].ended)
        await app.until(lambda: "Left where it was" in app.text())
        job = app.app.jobs[0]
        assert job.state == "cancelled"
        assert 0 < job.moved < job.total
        assert "cancelled" in job.left
        assert job.done == job.moved


async def test_a_job_goes_on_when_its_screen_is_left_and_tells_its_end() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        await app.press("escape")
        await app.screen(ProcessesScreen)
        assert "1 job" in app.text()
        kernel.gate.release(100_000)
        await app.until(lambda: app.notifications())
        assert "done, 1.5G moved" in app.notifications()[0]
        await app.press("J")
        await app.screen(JobScreen)


async def test_quitting_asks_while_a_job_runs() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        await app.press("f10")
        await app.screen(Question)
        await app.press("n")
        assert isinstance(app.app.screen, JobScreen)
        kernel.gate.release(100_000)
        await app.until(lambda: app.app.jobs[0].ended)


async def test_two_jobs_are_listed() -> None:
    async with driving() as app:
        for name in ("train", "collect"):
            screen = await choose(app, name)
            if name == "collect":
                await app.press("left", "1", "right", "1", "0")
            await app.press("enter", "y")
            await app.screen(JobScreen)
            await app.until(lambda: app.app.jobs[-1].ended)
            assert screen.plan is not None
            await app.press("escape", "escape")
        await app.press("J")
        await app.screen(JobsScreen)
        assert len(app.app.jobs) == 2
        assert "2101 from 1 to 0" in app.text()
        await app.press("enter")
        await app.screen(JobScreen)


async def test_a_process_that_ends_meanwhile_is_told() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        kernel.gate.release(1)
        await app.until(lambda: app.app.jobs[0].moved)
        del kernel.processes[2100]
        kernel.gate.release(100_000)
        await app.until(lambda: app.app.jobs[0].ended)
        await app.until(lambda: "it has ended" in app.text())
        assert app.app.jobs[0].state == "partly"


async def test_a_process_that_has_gone_before_is_told() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press("slash", *"train", "enter")
        del kernel.processes[2100]
        await app.press("m")
        await planned(app)
        assert "there is no process 2100" in app.text()


async def test_a_recording_is_not_changed() -> None:
    kernel = FakeKernel(source="replay")
    async with driving(kernel) as app:
        assert "REPLAY" in app.text()
        assert "read-only" in app.text()
        await choose(app, "train")
        await app.press("enter")
        await app.until(lambda: app.notifications())
        assert "recording" in app.notifications()[0]
        assert not app.app.jobs


async def test_the_journal_of_a_demo_goes_with_the_app() -> None:
    async with choosing() as (app, _):
        await app.press("enter", "y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        folder = app.app.job_directory
        assert list(folder.glob("*.job"))
    assert not folder.exists()


async def test_no_is_no() -> None:
    kernel = FakeKernel()
    async with choosing(kernel=kernel) as (app, _):
        await app.press("enter")
        await app.screen(Question)
        await app.press("right", "enter")
        await app.screen(MigrateScreen)
        assert not app.app.jobs
        assert kernel.calls == 0


async def test_while_the_text_of_a_set_is_wrong_there_is_no_plan_and_the_reason_stays() -> None:
    async with choosing() as (app, screen):
        field = screen.query_one("#from", Input)
        field.focus()
        field.value = "0-12"
        await app.until(lambda: screen.plan is None)
        assert "there is no node 12" in app.text()
        await app.read()
        await app.until(lambda: screen.plan is None)
        assert "there is no node 12" in app.text()
        await app.press("enter", "enter")
        assert isinstance(app.app.screen, MigrateScreen)
        field.value = "1"
        await app.until(lambda: screen.plan is not None)
        assert "there is no node 12" not in app.text()


async def test_processes_that_run_on_different_nodes_get_no_target_proposed() -> None:
    async with driving() as app:
        await app.press("slash", *"redis", "enter", "space", "space", "escape", "m")
        screen = await planned(app)
        nodes = {screen.snapshot.topology.node_of_cpu[one.process.cpu] for one in screen.subjects or []}
        assert len(nodes) == 2
        assert not screen.targets
        assert screen.plan is None
        assert "they run on different nodes" in app.text()


async def test_what_is_moved_is_what_was_asked_even_if_the_plan_changed_meanwhile() -> None:
    async with choosing() as (app, screen):
        asked = screen.plan
        assert asked is not None
        await app.press("enter")
        await app.screen(Question)
        screen.sources, screen.targets = NodeSet([0]), NodeSet([2])
        screen._replan()
        await app.press("y")
        await app.screen(JobScreen)
        await app.until(lambda: app.app.jobs[0].ended)
        assert app.app.jobs[0].total == asked.bytes


async def test_a_job_can_be_held_up_and_goes_on() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        job = app.app.jobs[0]
        kernel.gate.release(1)
        await app.until(lambda: job.moved)
        await app.press("space")
        assert job.state == "paused"
        assert "paused" in app.text()
        kernel.gate.release(1)
        moved = job.moved
        await app.until(lambda: job.moved > moved or job.cancel._free.is_set() or kernel.gate._value == 0)
        moved, calls = job.moved, kernel.calls
        kernel.gate.release(100_000)
        await app.read()
        assert (job.moved, kernel.calls) == (moved, calls)
        assert not job.ended
        await app.press("space")
        await app.until(lambda: job.ended)
        assert job.state == "done"
        assert job.moved == job.total


async def test_a_job_that_is_held_up_can_be_cancelled() -> None:
    kernel = SlowKernel()
    async with moving(kernel) as app:
        job = app.app.jobs[0]
        await app.press("space")
        kernel.gate.release(100_000)
        await app.press("x")
        await app.until(lambda: job.ended)
        assert job.state == "cancelled"


async def test_a_job_is_taken_back_page_by_page() -> None:
    kernel = FakeKernel()
    async with driving(kernel, size=(200, 40)) as app:
        before = kernel.processes[2100].counts().tolist()
        await app.press("C", "end", "space", "enter")
        await choose(app, "train")
        await app.press("enter", "y")
        await app.screen(JobScreen)
        await app.until(lambda: app.app.jobs[0].ended)
        assert kernel.processes[2100].counts().tolist() != before
        await app.press("u")
        await app.screen(Question)
        await app.press("y")
        await app.until(lambda: len(app.app.jobs) == 2 and app.app.jobs[1].ended)
        undo = app.app.jobs[1]
        assert undo.state == "done"
        assert undo.moved == app.app.jobs[0].moved
        assert kernel.processes[2100].counts().tolist() == before
        await app.until(lambda: "taking back job 1" in app.text())
        assert not app.app.jobs[0].can_be_undone
        assert not undo.can_be_undone
        await app.press("escape", "escape")
        await app.until(lambda: "taken back" in app.text())


async def test_presets_set_both_sides() -> None:
    async with choosing("search.jar") as (app, screen):
        await app.press("s", "down", "enter")
        await app.until(lambda: isinstance(app.app.screen, MigrateScreen))
        assert str(screen.targets) == "2"
        assert str(screen.sources) == "0-1,3"
        await app.press("s", "down", "down", "enter")
        await app.until(lambda: app.notifications())
        assert "not as many nodes" in app.notifications()[0]


async def test_the_command_can_be_copied() -> None:
    async with choosing() as (app, _):
        await app.press("b", "w", "r", "enter")
        await app.screen(Question)
        await app.press("ctrl+y")
        assert app.app.clipboard == (
            "numatui --demo default migrate 2100 --from 1 --to 3 --budget 500ms --workers 1 --max-rate 64M"
        )


async def test_budget_workers_and_limit_are_those_of_the_job() -> None:
    async with choosing() as (app, screen):
        await app.press("b", "w", "w", "r", "r")
        options = screen.how.options(app.app.job_directory)
        assert (options.budget, options.workers) == (500_000_000, 2)
        await app.until(lambda: screen.plan is not None and screen.plan.max_rate == 256 * MIB)
        assert screen.plan is not None
        assert screen.plan.seconds >= screen.plan.bytes / (256 * MIB)
        assert "workers 2" in app.text()
        await app.pilot.click("#workers")
        assert screen.how.workers == 4


async def test_what_was_chosen_is_written_out_whatever_it_is() -> None:
    async with choosing(size=(80, 24)) as (app, screen):
        for _ in METHODS:
            await app.press("o", "r", "b", "w")
            await app.pilot.pause()
            line = next(line for line in app.lines() if " shared " in line and "call" in line)
            for label in screen.how.labels.values():
                assert label in line


async def test_several_processes_go_each_to_where_it_runs_in_one_job() -> None:
    async with driving(open_scenario(), size=(160, 50)) as app:
        for _ in range(8):
            app.app.kernel.pause(1_000_000_000)
            await app.read()
        await app.press("6", "space", "1", "9", "space", "m")
        screen = await planned(app)
        assert len(screen.subjects or ()) == 2
        await app.press("s")
        assert "each to where it runs" in app.text()
        await app.press("enter")
        await app.screen(Question)
        await app.press("enter")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        (job,) = app.app.jobs
        assert {one.process.pid for one in job.parts} == {6, 19}
        assert all({move.target for move in one.moves} == {one.runs_on} for one in job.parts)
        assert job.state == "done"
