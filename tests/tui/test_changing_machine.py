"""A machine that changes under the screen: nodes go, processes vanish, rights are lost, whatever is shown."""

from __future__ import annotations

import errno

import pytest

from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.nodes import NodesScreen
from numatui.tui.screens.process import ProcessScreen
from tests.kernels.fake_kernel import FakeKernel, process
from tests.tui.driver import driving


async def test_a_node_that_goes_offline_leaves_all_screens() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        assert "N3" in app.text()
        for one in kernel.processes.values():
            for part in one.regions:
                part.where[part.where == 3] = 0
                part.moved()
            one.cpu = one.cpu % 24
        kernel.nodes = 3
        await app.read()
        assert "N3" not in app.text()
        assert "node 3" not in app.text()
        await app.press("n")
        await app.screen(NodesScreen)
        await app.until(lambda: "Node 0" in app.text())
        kernel.nodes = 2
        await app.read()
        await app.press("G")
        await app.until(lambda: "Node 1" in app.text())


async def test_a_node_that_goes_while_it_is_chosen_is_told() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press("slash", *"train", "enter", "m")
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.plan is not None)
        kernel.nodes = 3
        await app.read()
        await app.until(lambda: screen.plan is None)
        assert "node 3" in app.text()


async def test_all_processes_vanish_and_others_come() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press("j", "j", "space", "F")
        kernel.processes.clear()
        await app.read()
        assert app.pids == []
        assert "no process to show" in app.text()
        await app.press("m", "enter", "space", "t", "v", "F", "plus", "G")
        kernel.processes[5] = process(5, "new", "ada", 0, {0: 1})
        await app.read()
        assert not app.table.listing.tagged
        assert len(app.table.rows) == 1


async def test_the_process_that_is_shown_ends() -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        await app.press(*"2100", "enter")
        await app.screen(ProcessScreen)
        await app.until(lambda: "ADDRESS" in app.text())
        del kernel.processes[2100]
        await app.read()
        await app.until(lambda: "there is no process 2100" in app.text())
        await app.press("v", "m")
        assert app.app.is_running


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO])
async def test_rights_that_are_lost_are_one_line_and_come_back(number: int) -> None:
    kernel = FakeKernel()
    async with driving(kernel) as app:
        kernel.failure = OSError(number, "no more")
        app.app.read_now()
        await app.until(lambda: app.app.error)
        assert len(app.notifications()) == 1
        kernel.failure = None
        kernel.denied = set(kernel.processes)
        await app.read()
        assert not app.app.error
        assert app.text().count("not allowed") > 5
        kernel.denied = set()
        app.app.read_now(anew=True)
        await app.read()
        assert "not allowed" not in app.text()
