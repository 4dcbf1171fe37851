"""Pictures of the screens, compared with those that were looked at (pytest --snapshot-update makes new ones)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from backend.emulator.tasks.life import spawn
from backend.heat.heat import Heat, HeatRange
from numatui.tui.app import NumatuiApp
from numatui.tui.model.groups import GroupRow
from numatui.tui.screens.heat import HeatScreen, HeatSeen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.widgets.detail_pane import DetailPane
from tests.emulator.machines import region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver

SIZES = [(80, 24), (160, 50)]
Compare = Callable[..., bool]


def app_under_test() -> NumatuiApp:
    """An app on a machine that never changes."""
    kernel = FakeKernel()
    kernel.throughput = {1200: 800_000.0, 2100: 450_000.0}
    return NumatuiApp(kernel, interval=0)


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str) -> None:
    assert isinstance(pilot.app, NumatuiApp)
    await Driver(pilot.app, pilot).until(condition, what)


def after(steps: Callable[[Pilot[Any]], Awaitable[None]]) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """First let the first reading be shown, then do these steps."""

    async def run(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, NumatuiApp)
        await until(pilot, lambda: app.snapshot is not None, "the first reading")
        await details(pilot)  # also what is seen behind a dialog
        await steps(pilot)
        await details(pilot)
        await pilot.pause()

    return run


async def details(pilot: Pilot[Any]) -> None:
    """Lets the pane beside the table, if that is seen, read the process under the cursor."""
    for pane in pilot.app.screen.query(DetailPane):
        if pane.display and pane.row is not None and not isinstance(pane.row, GroupRow):
            await until(pilot, lambda pane=pane: pane.look is not None, "the details")


async def nothing(pilot: Pilot[Any]) -> None:
    return


async def migrate(pilot: Pilot[Any]) -> None:
    await pilot.press("slash", *"search.jar", "enter", "m")
    screen = pilot.app.screen
    assert isinstance(screen, MigrateScreen)
    await until(pilot, lambda: screen.plan is not None, "a plan")


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x50"])
def test_main_screen(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(app_under_test(), terminal_size=size, run_before=after(nothing))


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x50"])
def test_migrate_screen(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(app_under_test(), terminal_size=size, run_before=after(migrate))


async def job(pilot: Pilot[Any]) -> None:
    await pilot.press("slash", *"train", "enter", "m")
    app, screen = pilot.app, pilot.app.screen
    assert isinstance(app, NumatuiApp)
    assert isinstance(screen, MigrateScreen)
    await until(pilot, lambda: screen.plan is not None, "a plan")
    await pilot.press("enter", "y")
    await until(pilot, lambda: app.jobs and app.jobs[0].ended, "the end of the job")


async def one_process(pilot: Pilot[Any]) -> None:
    await pilot.press(*"1200", "enter")
    screen = pilot.app.screen
    assert isinstance(screen, ProcessScreen)
    await until(pilot, lambda: screen.last is not None, "the process")


async def heat(pilot: Pilot[Any]) -> None:
    """A hot part that has moved, on two nodes."""
    await pilot.press(*"1200", "E")
    screen = pilot.app.screen
    assert isinstance(screen, HeatScreen)
    await until(pilot, lambda: screen.problem, "that this kernel cannot tell")
    screen.problem = ""
    mib = 1 << 20
    for second in range(12):
        hottest = 20 + 5 * second
        ranges = [
            HeatRange(
                at * mib, (at + 10) * mib, "/dev/zero" if at < 200 else "[heap]", 10 * mib, 10 * mib * (rate > 0),
                10 * mib * (rate > 0), 10 * mib * (rate > 0), {0 if at < 120 else 2: 10 * mib}, float(rate), 1.0,
                0 if at < 200 else 200 * mib,
            )
            for at in range(0, 300, 10)
            for rate in [max(0, 200 - 6 * abs(at - hottest)) or (2 if at >= 260 else 0)]
        ]  # fmt: skip
        screen.on_heat_seen(HeatSeen(second * 1_000_000_000, Heat(1200, "damon", 1.0, 1, 0.01, tuple(ranges))))


def pressing(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def steps(pilot: Pilot[Any]) -> None:
        await pilot.press(*keys)
        await pilot.app.workers.wait_for_complete()

    return steps


SCREENS = {
    "job": job,
    "process": one_process,
    "heat": heat,
    "nodes": pressing("n"),
    "help": pressing("question_mark"),
    "columns": pressing("f2"),
    "groups": pressing("v", "enter"),
    "advice": pressing("a"),
}


@pytest.mark.parametrize("size", [*SIZES, (200, 60)], ids=["80x24", "160x50", "200x60"])
@pytest.mark.parametrize("name", list(SCREENS))
def test_other_screens(snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    assert snap_compare(app_under_test(), terminal_size=size, run_before=after(SCREENS[name]))


@pytest.mark.parametrize("size", [*SIZES, (60, 15)], ids=["80x24", "160x50", "60x15"])
def test_cgroups(snap_compare: Compare, size: tuple[int, int]) -> None:
    machine = Admin(nodes=4, pages=4096)
    for name, mems, parent in (("db", "0-1", ""), ("primary", "0", "db"), ("web", "2-3", "")):
        machine.create(name, mems, parent)
        task = spawn(machine.m, f"in-{name}", cpu=0)
        machine.write(f"{parent}/{name}", "cgroup.procs", str(task.pid))
        region(machine.m, task, {0: 300, 1: 200, 3: 100})
    app = NumatuiApp(machine.kernel, interval=0)
    assert snap_compare(app, terminal_size=size, run_before=after(pressing("c")))


def test_main_screen_light(snap_compare: Compare) -> None:
    app = app_under_test()
    app.theme = "numatui-light"
    assert snap_compare(app, terminal_size=(120, 30), run_before=after(nothing))
