"""F7, F8 and F9: what is asked, what is done, what is said and kept in the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.recording.kernel import RecordedKernel
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.screens.processes import ProcessesScreen
from tests.emulator.machines import machine, region
from tests.trees import process_files, two_nodes, write
from tests.tui.driver import Driver, driving


def two_tasks() -> tuple[EmulatedKernel, Task, Task]:
    m = machine("linux-6", pages=1024)
    spawn(m, "init", cpu=0, pid=1)
    first, second = (spawn(m, name, cpu=0, pid=pid, uid=1001) for name, pid in (("first", 50), ("second", 60)))
    region(m, first, {0: 200})
    region(m, second, {1: 100})
    return EmulatedKernel(m), first, second


@asynccontextmanager
async def choosing(kernel: EmulatedKernel, *keys: str) -> AsyncGenerator[Driver]:
    async with driving(kernel) as app:
        await app.press("5", "0", *keys, "f9")
        await app.until(lambda: isinstance(app.app.screen, Chooser), "the list of signals")
        yield app


async def test_a_signal_is_chosen_and_asked_for() -> None:
    kernel, first, second = two_tasks()
    async with choosing(kernel) as app:
        assert "SIGTERM" in app.text()
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, Question), "the question")
        assert "Send SIGTERM to process 50?" in app.text()
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, ProcessesScreen))
        assert first.alive, "Enter alone says no: what has ended does not come back"
        await app.press("f9", "enter", "y")
        await app.until(lambda: not first.alive, "it has ended")
        await app.until(lambda: len(app.table.rows) == 2, "it is gone from the table")
        assert second.alive
        assert [one.title for one in app.app.actions.all] == ["SIGTERM for process 50"]
        assert not app.app.actions.all[0].command, "no shell of this machine reaches a demo"


async def test_tagged_processes_are_meant_and_named() -> None:
    kernel, first, second = two_tasks()
    async with choosing(kernel, "space", "6", "0", "space") as app:
        assert "Signal for 2 processes" in app.text()
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, Question), "the question")
        assert "first" in app.text()
        assert "second" in app.text()
        await app.press("y")
        await app.until(lambda: not first.alive and not second.alive)


async def test_leaving_the_list_does_nothing() -> None:
    kernel, first, _ = two_tasks()
    async with choosing(kernel) as app:
        await app.press("escape")
        await app.until(lambda: isinstance(app.app.screen, ProcessesScreen))
        assert first.alive
        assert not app.app.actions.all


async def test_a_process_that_has_gone_meanwhile_is_said_and_another_left_alone() -> None:
    kernel, first, _ = two_tasks()
    async with choosing(kernel) as app:
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, Question), "the question")
        kernel.machine.tasks.pop(first.pid)
        other = spawn(kernel.machine, "other", cpu=0, pid=first.pid)
        await app.press("y")
        await app.until(lambda: app.app.actions.all and app.app.actions.all[0].result)
        assert "another has its number" in app.app.actions.all[0].result
        assert other.alive


@pytest.mark.parametrize(("key", "nice"), [("f8", 1), ("f7", -1)])
async def test_nice_values_change_at_once(key: str, nice: int) -> None:
    kernel, first, second = two_tasks()
    async with driving(kernel) as app:
        await app.press("5", "0", key)
        await app.until(lambda: first.leader.nice == nice)
        await app.until(lambda: app.app.actions.all and app.app.actions.all[0].result == f"50: nice 0 to {nice}")
        assert second.leader.nice == 0


async def test_what_the_kernel_refuses_is_said() -> None:
    kernel, first, _ = two_tasks()
    kernel.caller = Caller(1001, privileged=False)
    async with driving(kernel) as app:
        await app.press("5", "0", "f7")
        await app.until(lambda: app.app.actions.all and app.app.actions.all[0].result)
        assert "more processor time" in app.app.actions.all[0].result
        assert first.leader.nice == 0


async def test_on_the_screen_of_a_process_it_is_meant() -> None:
    kernel, first, _ = two_tasks()
    async with driving(kernel) as app:
        await app.press("5", "0", "enter")
        await app.until(lambda: isinstance(app.app.screen, ProcessScreen))
        await app.press("f8")
        await app.until(lambda: first.leader.nice == 1)


async def test_a_recording_says_why_not(tmp_path: Path) -> None:
    two_nodes(tmp_path)
    async with driving(RecordedKernel(write(tmp_path, process_files(7, b"t")))) as app:
        await app.press("f8")
        await app.until(lambda: app.app.actions.all and app.app.actions.all[0].result)
        assert "a recording can be looked at but not changed" in app.app.actions.all[0].result


async def test_the_chosen_signal_stays_in_sight_when_the_terminal_shrinks() -> None:
    kernel, _, _ = two_tasks()
    async with choosing(kernel) as app:
        await app.pilot.resize_terminal(80, 18)
        await app.until(lambda: "SIGTERM" in app.text())
