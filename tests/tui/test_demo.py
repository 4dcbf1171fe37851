"""The screen on the emulated machine, and which machine it opens on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from backend.emulator.scenario.open import open_scenario
from backend.errors import NotSupported
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.tui.reading import machine
from numatui.tui.reading.machine import open_machine, simulated_time
from numatui.tui.screens.job import JobScreen
from numatui.tui.screens.migrate import MigrateScreen
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving


@dataclass
class Choice:
    which: Literal["live", "demo", "replay"] | None
    kernel: Kernel

    def open(self) -> Kernel:
        return self.kernel


async def test_memory_that_was_left_behind_is_brought_back() -> None:
    kernel = open_scenario("default")
    async with driving(kernel) as app:
        assert "DEMO" in app.text()
        far = next(
            row for row in app.table.rows if row.local is not None and row.local < 0.5 and row.policy == "default"
        )
        pid, node = far.process.pid, far.node
        await app.press("slash", *str(far.process.command), "enter", "m")
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.plan)
        assert list(screen.targets) == [node]
        await app.press("enter", "y")
        await app.screen(JobScreen)
        await app.until(lambda: app.app.jobs[0].ended)
        assert app.app.jobs[0].moved > 0
        await app.press("escape")
        await app.read()
        row = next(row for row in app.table.listing.rows if row.process.pid == pid)
        assert row.local == 1.0


async def test_keys_set_the_speed_of_simulated_time() -> None:
    kernel = open_scenario("default")
    kernel.start(1.0)
    try:
        async with driving(kernel, size=(160, 40)) as app:
            assert "time 1x" in app.text()
            await app.press("right_square_bracket")
            assert kernel.speed == 2.0
            await app.press("left_square_bracket", "left_square_bracket")
            assert kernel.speed == 0.5
            await app.press("equals_sign")
            assert kernel.speed == 0
            assert "time stands still" in app.text()
            await app.press("equals_sign")
            assert kernel.speed == 0.5
    finally:
        kernel.stop()


async def test_a_kernel_without_a_time_of_its_own_has_no_such_keys() -> None:
    async with driving() as app:
        assert simulated_time(app.app.kernel) is None
        await app.press("right_square_bracket")
        assert "time" not in app.lines()[0]


def test_a_choice_is_followed() -> None:
    kernel = FakeKernel()
    opened = open_machine(Choice("replay", kernel))
    assert opened.kernel is kernel
    assert not opened.notice


def test_without_a_choice_this_machine_if_pages_can_move_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(source="live")
    monkeypatch.setattr(machine, "LiveKernel", FakeKernel)
    monkeypatch.setattr(machine, "memory_nodes", lambda _: NodeSet([0, 1]))
    assert open_machine(Choice(None, kernel)).kernel is kernel


def test_without_a_choice_else_the_demo_with_a_note_how_to_force_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "LiveKernel", FakeKernel)
    monkeypatch.setattr(machine, "memory_nodes", lambda _: NodeSet([0]))
    opened = open_machine(Choice(None, FakeKernel()))
    assert opened.kernel.source == "demo"
    assert "one memory node" in opened.notice
    assert "--live" in opened.notice
    assert "--demo" in opened.notice


def test_not_linux_is_the_demo_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Kernel:
        raise NotSupported("this is Elsewhere, not Linux: it has no page migration")

    monkeypatch.setattr(machine, "LiveKernel", refuse)
    opened = open_machine(Choice(None, FakeKernel()))
    assert opened.kernel.source == "demo"
    assert "not Linux" in opened.notice


async def test_the_note_is_shown() -> None:
    async with driving(notifications=True, notice="Only one node here [b]x[/b]") as app:
        await app.until(lambda: "Only one node here [b]x[/b]" in app.text())
