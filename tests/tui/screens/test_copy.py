"""A copy of the machine in the terminal UI, and the way back."""

from __future__ import annotations

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.scenario.open import open_scenario
from backend.nodeset import NodeSet
from numatui.tui import start
from numatui.tui.reading.machine import ShownMachine
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.migrate import MigrateScreen
from tests.kernels.fake_kernel import FakeKernel
from tests.tui.driver import driving


async def test_a_copy_is_made_and_the_app_ends_for_it() -> None:
    async with driving(FakeKernel()) as app:
        app.app.action_try_copy()
        await app.screen(Question)
        await app.press("enter")
        await app.until(lambda: app.app.next_copy is not None, "a copy")
        copy = app.app.next_copy
    assert copy is not None
    machine = start.open_copy(copy, ShownMachine(FakeKernel()))
    assert "q goes back" in machine.notice
    assert isinstance(machine.kernel, EmulatedKernel)
    async with driving(machine.kernel, size=(120, 40)) as app:
        assert "copy of db7" in app.lines()[0]
        assert 2100 in app.pids
        await app.press(*"2100", "m")
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.plan is not None and screen.plan.bytes)
        assert (str(screen.sources), str(screen.targets)) == ("1", "3")


class Scripted:
    """Stands for the app: what each of its runs asks for next."""

    def __init__(self, kernels: list[object], answers: list[tuple[str, object, int]]) -> None:
        self.kernels, self.answers = kernels, answers

    def __call__(self, kernel: object, *_: object) -> object:
        self.kernels.append(kernel)
        scenario, copy, code = self.answers.pop(0)
        return type(
            "App",
            (),
            {
                "next_scenario": scenario,
                "next_copy": copy,
                "return_code": code,
                "left": lambda _: start.saved_state.SavedState(),
                "kernel": kernel,
                "go_on_from": lambda self, before: setattr(self, "before", before),
            },
        )()


def test_leaving_a_copy_comes_back_and_a_signal_ends_all(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from backend.recording.as_scenario import copy_of

    origin = FakeKernel()
    copy = copy_of(origin)
    seen: list[object] = []
    monkeypatch.setattr(start, "run", lambda app: None)
    monkeypatch.setattr(start.saved_state, "save", lambda path, kept: None)
    monkeypatch.setattr(start, "open_machine", lambda choice: ShownMachine(origin))
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
    monkeypatch.setattr(start, "NumatuiApp", Scripted(seen, [("", copy, 0), ("", None, 0), ("", None, 0)]))
    assert start.start(None) == 0  # type: ignore[arg-type]
    assert [type(one) for one in seen] == [FakeKernel, EmulatedKernel, FakeKernel]
    seen.clear()
    monkeypatch.setattr(start, "NumatuiApp", Scripted(seen, [("", copy, 0), ("", None, 143)]))
    assert start.start(None) == 143  # type: ignore[arg-type]
    assert len(seen) == 2


async def test_who_comes_back_from_a_copy_finds_jobs_and_log_and_can_undo() -> None:
    kernel = open_scenario("scheduler-moves")
    async with driving(kernel) as app:
        first = app.app
        await app.press("3", "m")
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.plan is not None)
        screen.sources, screen.targets = NodeSet([0]), NodeSet([2])
        screen._replan()
        await app.press("enter", "y")
        await app.until(lambda: app.app.jobs and app.app.jobs[0].ended)
        assert app.app.jobs[0].moved
        first.comes_back = True
    async with driving(kernel, before=first) as app:
        assert [one.title for one in app.app.actions.all] == [first.jobs[0].title]
        await app.press("J", "u")
        await app.screen(Question)
        await app.press("enter")
        await app.until(lambda: len(app.app.jobs) == 2 and app.app.jobs[1].ended)
        assert app.app.jobs[1].moved == app.app.jobs[0].moved
