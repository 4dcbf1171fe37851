"""Whatever processes, users, files and hosts are called: nothing of it reaches the terminal but visible characters."""

from __future__ import annotations

import unicodedata

import pytest

from backend.emulator.tasks.life import spawn
from numatui.tui.screens.advice import AdviceScreen
from numatui.tui.screens.cgroups import CgroupsScreen
from numatui.tui.screens.dialogs.cpuset_change import CpusetChangeScreen
from numatui.tui.screens.log import LogScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.nodes import NodesScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.screens.processes import ProcessesScreen
from tests.emulator.tasks.cpuset_machine import Admin
from tests.kernels.fake_kernel import FakeKernel, process
from tests.tui.driver import Driver, driving

NAMES = {
    "newline": "a\nb\r\n\tc",
    "escape": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "csi of one byte": "\x9b31m",
    "markup": "[bold red]x[/bold red] [@click=app.quit]here[/]",
    "unclosed markup": "[/nothing] [",
    "not utf-8": "caf\udce9 \udcff",
    "bidi": "abc\u202egnp.exe\u2066",
    "wide": "進程" * 40,
    "combining": "e" + "\u0301" * 50,
    "null and delete": "a\x01\x7f\x00b",
    "line separator": "a\u2028b\u2029c",
    "long": "x" * 4096,
    "long and hostile": "\x1b[2J" * 1024,
    "empty": "",
}


def check(app: Driver, width: int) -> None:
    for line in app.lines():
        for char in line:
            assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, repr(line)
    for strip in app.app.screen._compositor.render_strips():
        assert strip.cell_length == width
        for segment in strip:
            assert segment.control is None or not segment.control


@pytest.mark.parametrize("kind", list(NAMES))
async def test_names_are_shown_harmlessly_on_every_screen(kind: str) -> None:
    name = NAMES[kind]
    safe = name.replace("\x00", "") or "x"
    one = process(77, safe, safe[:40], 5, {1: 64, 2: 8}, policy="default", cpuset="/" + safe)
    one.regions[0].words = "file=" + safe.translate({ord(c): f"\\{ord(c):03o}" for c in " \t\n\\"}) + " mapped=1"
    kernel = FakeKernel([one], name=name)
    async with driving(kernel, size=(160, 40)) as app:
        check(app, 160)
        await app.press("enter")
        await app.screen(ProcessScreen)
        screen = app.app.screen
        assert isinstance(screen, ProcessScreen)
        await app.until(lambda: screen.last)
        check(app, 160)
        await app.press("escape", "m")
        await app.screen(MigrateScreen)
        await app.until(lambda: getattr(app.app.screen, "plan", None))
        check(app, 160)
        await app.press("enter")
        check(app, 160)
        await app.press("y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        check(app, 160)
        await app.press("escape")
        check(app, 160)
        for key, kind_of_screen in (("n", NodesScreen), ("a", AdviceScreen), ("l", LogScreen)):
            await app.press(key)
            await app.screen(kind_of_screen)
            await app.app.workers.wait_for_complete()
            await app.pilot.pause()
            check(app, 160)
            await app.press("escape")
            await app.screen(ProcessesScreen)
        await app.press("v", "enter")
        check(app, 160)


@pytest.mark.parametrize("kind", list(NAMES))
async def test_names_of_cgroups_are_shown_harmlessly(kind: str) -> None:
    name = NAMES[kind].replace("\x00", "").replace("/", "").replace("\n", "")[:200] or "x"
    machine = Admin(nodes=4, pages=4096)
    machine.create(name, "0-1")
    machine.write(name, "cgroup.procs", str(spawn(machine.m, "inside", cpu=0).pid))
    async with driving(machine.kernel, size=(160, 40)) as app:
        check(app, 160)
        await app.press("c")
        await app.screen(CgroupsScreen)
        screen = app.app.screen
        assert isinstance(screen, CgroupsScreen)
        await app.until(lambda: screen.rows)
        assert len(screen.rows) == 2
        check(app, 160)
        await app.press("end", "S")
        await app.screen(CpusetChangeScreen)
        await app.app.workers.wait_for_complete()
        await app.pilot.pause()
        check(app, 160)
        await app.press("escape", "enter")
        await app.screen(ProcessesScreen)
        check(app, 160)


async def test_errors_with_names_in_them_are_not_markup() -> None:
    async with driving(notifications=True) as app:
        app.app.tell("[red]no[/red] [/x] \x1b[31m")
        await app.until(lambda: "[red]no[/red]" in app.text())
        check(app, 120)


async def test_what_is_typed_as_a_filter_is_shown_as_it_is() -> None:
    async with driving() as app:
        await app.press("slash", *"[b]x", "enter")
        assert "[b]x" in app.text()
