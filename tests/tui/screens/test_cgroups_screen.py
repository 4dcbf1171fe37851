"""Cgroups and cpusets: the tree, other mems, processes into a cpuset."""

from __future__ import annotations

import errno

import pytest
from textual.widgets import Input

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_totals
from numatui.tui.screens.cgroups import CgroupsScreen, CgroupTable
from numatui.tui.screens.dialogs.cpuset_change import CpusetChangeScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.processes import ProcessesScreen
from tests.emulator.machines import region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import Driver, driving


def admin(**options: str) -> tuple[Admin, dict[str, int]]:
    """Two cpusets with a process in each, on four nodes."""
    one = Admin(nodes=4, pages=4096, **options)
    one.create("left", "0-1")
    one.create("right", "2-3")
    pids: dict[str, int] = {}
    for name, node in (("left", 0), ("right", 2)):
        task = spawn(one.m, f"in-{name}", cpu=node * 2)
        one.write(name, "cgroup.procs", str(task.pid))
        region(one.m, task, {node: 100, node + 1: 50})
        pids[name] = task.pid
    return one, pids


def placed(one: Admin, pid: int) -> dict[int, int]:
    """Pages by node, as the kernel has them."""
    return {node: size // 4096 for node, size in parse_totals(one.kernel.read(f"/proc/{pid}/numa_maps")).items()}


class Removing(EmulatedKernel):
    """One in which a cgroup can be gone."""

    gone = ""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self._look(path)
        return super().read(path, offset, size)

    def write(self, path: str, data: bytes) -> None:
        self._look(path)
        super().write(path, data)

    def listdir(self, path: str) -> list[str]:
        self._look(path)
        return [name for name in super().listdir(path) if name != self.gone]

    def _look(self, path: str) -> None:
        if self.gone and f"/{self.gone}" in path:
            raise FileNotFoundError(errno.ENOENT, "no", path)


async def opened(app: Driver) -> CgroupsScreen:
    await app.press("c")
    await app.screen(CgroupsScreen)
    screen = app.app.screen
    assert isinstance(screen, CgroupsScreen)
    await app.until(lambda: screen.rows or screen.problem)
    return screen


async def go_to(app: Driver, screen: CgroupsScreen, path: str) -> None:
    table = screen.query_one(CgroupTable)
    table._go(next(index for index, row in enumerate(table.rows) if row.path == path))
    await app.pilot.pause()


async def test_shows_memory_by_node_and_cpusets_as_a_tree() -> None:
    one, _ = admin()
    async with driving(one.kernel) as app:
        screen = await opened(app)
        rows = {row.path: row for row in screen.rows}
        assert set(rows) == {"/", "/left", "/right"}
        used = {node: amount for node, amount in rows["/left"].by_node.items() if amount}
        assert used == {0: 100 * 4096, 1: 50 * 4096}
        assert rows["/left"].processes == 1
        line = next(line for line in app.lines() if " left " in line)
        assert "0-1" in line
        assert "600K" in line
        await app.press("home", "minus")
        assert len(screen.query_one(CgroupTable).rows) == 1
        await app.press("plus")
        assert len(screen.query_one(CgroupTable).rows) == 3
        for shown in (1, 3):
            await app.pilot.click(CgroupTable, offset=(0, 1))
            await app.pilot.pause()
            assert len(screen.query_one(CgroupTable).rows) == shown
        await app.press("slash", *"righ", "enter")
        assert [row.path for row in screen.query_one(CgroupTable).rows] == ["/", "/right"]


async def test_a_cgroup_leads_to_its_processes() -> None:
    one, pids = admin()
    async with driving(one.kernel) as app:
        screen = await opened(app)
        await go_to(app, screen, "/left")
        await app.press("enter")
        await app.screen(ProcessesScreen)
        assert app.pids == [pids["left"]]


async def test_its_processes_can_be_migrated() -> None:
    one, pids = admin()
    async with driving(one.kernel) as app:
        screen = await opened(app)
        await go_to(app, screen, "/right")
        await app.press("m")
        await app.screen(MigrateScreen)
        assert isinstance(app.app.screen, MigrateScreen)
        assert [process.pid for process in app.app.screen.processes] == [pids["right"]]


async def test_other_nodes_move_its_pages_after_they_were_foretold() -> None:
    one, pids = admin()
    async with driving(one.kernel) as app:
        screen = await opened(app)
        await go_to(app, screen, "/left")
        await app.press("S")
        await app.screen(CpusetChangeScreen)
        dialog = app.app.screen
        assert isinstance(dialog, CpusetChangeScreen)
        dialog.query_one(Input).value = "9"
        await app.until(lambda: "there is no node 9" in app.text())
        await app.press("enter")
        assert isinstance(app.app.screen, CpusetChangeScreen)
        dialog.query_one(Input).value = "2-3"
        await app.until(lambda: "0→2 400K" in app.text())
        assert "1→3 200K" in app.text()
        assert "cpuset set-mems /left 2-3" in app.text()
        await app.press("ctrl+y")
        assert app.app.clipboard.endswith("cpuset set-mems /left 2-3")
        assert NodeSet.parse_list(one.read("left", "cpuset.mems")) == NodeSet([0, 1])
        await app.press("enter")
        await app.until(lambda: "nodes in effect now: 2-3" in app.text())
        assert placed(one, pids["left"]) == {2: 100, 3: 50}
        assert one.read("left", "cpuset.mems") == "2-3"
        await app.press("enter")
        await app.screen(CgroupsScreen)
        await app.press("l")
        await app.until(lambda: "nodes in effect now: 2-3" in app.text())


async def test_nodes_are_taken_in_and_out_by_mouse() -> None:
    one, _ = admin()
    async with driving(one.kernel) as app:
        screen = await opened(app)
        await go_to(app, screen, "/left")
        await app.press("S")
        await app.screen(CpusetChangeScreen)
        field = app.app.screen.query_one(Input)
        await app.pilot.click("#node-3")
        await app.pilot.click("#node-0")
        assert field.value == "1,3"


async def test_tagged_processes_are_put_into_a_cpuset() -> None:
    one, pids = admin()
    async with driving(one.kernel) as app:
        await app.press(*str(pids["left"]), "space")
        screen = await opened(app)
        await go_to(app, screen, "/right")
        await app.press("t")
        await app.screen(CpusetChangeScreen)
        await app.until(lambda: f"cpuset attach /right {pids['left']}" in app.text())
        await app.press("enter")
        await app.until(lambda: "nodes in effect now" in app.text())
        assert str(pids["left"]) in one.read("right", "cgroup.procs").split()
        assert set(placed(one, pids["left"])) <= {2, 3}


async def test_without_tags_it_says_how() -> None:
    one, _ = admin()
    async with driving(one.kernel) as app:
        await opened(app)
        await app.press("t")
        assert "tag the processes" in app.notifications()[0]


async def test_a_cgroup_that_is_removed_while_its_dialogue_is_open_is_one_line() -> None:
    one, _ = admin()
    one.create("gone", "1")
    kernel = Removing(one.m)
    async with driving(kernel) as app:
        screen = await opened(app)
        await go_to(app, screen, "/gone")
        await app.press("S")
        await app.screen(CpusetChangeScreen)
        await app.until(lambda: "set-mems /gone" in app.text())
        kernel.gone = "gone"
        await app.press("enter")
        await app.until(lambda: "there is no cgroup" in app.text() or "no cpuset" in app.text())
        await app.press("escape")
        await app.screen(CgroupsScreen)
        await app.read()
        await app.until(lambda: all(row.path != "/gone" for row in screen.rows))


async def test_without_the_right_to_it_is_one_line() -> None:
    one, _ = admin()
    async with driving(EmulatedKernel(one.m, Caller(1000, False))) as app:
        screen = await opened(app)
        await go_to(app, screen, "/left")
        await app.press("S")
        await app.screen(CpusetChangeScreen)
        app.app.screen.query_one(Input).value = "2-3"
        await app.until(lambda: "root" in app.text() or "set-mems /left 2-3" in app.text())
        await app.press("enter")
        await app.until(lambda: "root" in app.text())
        assert one.read("left", "cpuset.mems") == "0-1"


async def test_a_machine_without_cgroups_says_so() -> None:
    async with driving(FakeKernel()) as app:
        screen = await opened(app)
        assert screen.problem
        assert "cgroup" in app.text()


@pytest.mark.parametrize("name", ["[red]x[bold]", "a\x1b[31mb", "x" * 200, "caf\udce9", "a b"])
@pytest.mark.parametrize("size", [(60, 15), (120, 40)])
async def test_hostile_names_are_harmless(name: str, size: tuple[int, int]) -> None:
    one, _ = admin()
    one.create(name, "1")
    async with driving(one.kernel, size=size) as app:
        screen = await opened(app)
        await go_to(app, screen, "/" + name)
        assert all("\x1b" not in line and "\udce9" not in line for line in app.lines())
        await app.press("S")
        await app.screen(CpusetChangeScreen)
        dialog = app.app.screen
        assert isinstance(dialog, CpusetChangeScreen)
        await app.until(lambda: dialog.change is not None)
        assert all("\x1b" not in line and "\udce9" not in line for line in app.lines())
        await app.press("escape", "enter")
        await app.screen(ProcessesScreen)
