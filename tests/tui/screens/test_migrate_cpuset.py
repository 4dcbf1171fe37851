"""The migrate screen with a cpuset: who else moves is said before, and taking back restores it."""

from __future__ import annotations

from backend.nodeset import NodeSet
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.migrate import MigrateScreen
from tests.tui.driver import driving
from tests.tui.screens.test_cgroups_screen import admin, placed


async def test_a_process_and_its_cpuset_move_and_are_taken_back() -> None:
    one, pids = admin()
    other = one.spawn("left")
    kernel = one.kernel
    before = placed(one, pids["left"])
    async with driving(kernel, size=(110, 40)) as app:
        process = next(row.process for row in app.app.snapshot.rows if row.process.pid == pids["left"])
        screen = MigrateScreen([process], NodeSet([0]), NodeSet([3]))
        app.app.push_screen(screen)
        await app.screen(MigrateScreen)
        await app.until(lambda: screen.plan is not None)
        assert "no cpuset" in app.text()
        await app.press("S")
        await app.until(lambda: screen.plan is not None and screen.plan.confinements)
        assert screen.plan is not None
        assert {part.process.pid for part in screen.plan.processes} == {pids["left"], other.pid}
        assert "/left will have the nodes 3 instead of 0-1" in " ".join(app.text().split())
        await app.press("enter")
        await app.screen(Question)
        assert "--cpuset" in app.text()
        await app.press("y")
        await app.screen(JobScreen)
        await app.until(lambda: app.app.jobs[0].ended)
        assert app.app.jobs[0].state == "done", app.app.jobs[0].errors
        assert one.read("left", "cpuset.mems") == "3"
        assert set(placed(one, pids["left"])) == {3}
        await app.until(lambda: "Take it back" in app.text())
        await app.press("u")
        await app.screen(Question)
        assert "the cpuset /left gets the nodes 0-1 again" in app.text()
        await app.press("y")
        await app.until(lambda: len(app.app.jobs) == 2 and app.app.jobs[1].ended)
        assert app.app.jobs[1].state == "done", app.app.jobs[1].errors
        assert one.read("left", "cpuset.mems") == "0-1"
        assert placed(one, pids["left"]) == before


async def test_other_targets_are_read_again_before_anything_starts() -> None:
    one, pids = admin()
    async with driving(one.kernel, size=(110, 40)) as app:
        process = next(row.process for row in app.app.snapshot.rows if row.process.pid == pids["left"])
        screen = MigrateScreen([process], NodeSet([0]), NodeSet([3]))
        app.app.push_screen(screen)
        await app.screen(MigrateScreen)
        await app.press("S")
        await app.until(lambda: screen.plan is not None and screen.plan.confinements)
        screen.targets = NodeSet([2])
        screen._chosen()
        await app.until(lambda: screen.plan is not None and screen._confined_to == NodeSet([2]))
        assert screen.plan is not None
        assert [str(confined.targets) for confined in screen.plan.confinements] == ["2"]
