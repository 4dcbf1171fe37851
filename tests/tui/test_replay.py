"""A recording in the terminal UI: going through its samples, playing it, the microscope on it."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from backend.kernel import Kernel
from backend.recording.kernel import RecordedKernel
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.study.microscope import MicroscopeScreen
from tests.tui.driver import Driver, driving
from tests.tui.recordings import record_demo

SAMPLES = 15


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo over fifteen seconds, in whose course the scheduler moves processes."""
    return record_demo(tmp_path_factory.mktemp("recording") / "demo.tar", SAMPLES)


async def shown(app: Driver, number: int) -> None:
    await app.until(lambda: f"sample {number}/{SAMPLES}" in app.lines()[0])
    kernel = app.app.kernel
    assert isinstance(kernel, RecordedKernel)
    await app.until(lambda: app.app.snapshot.at == kernel.samples[number - 1].at)


def cpus(kernel: Kernel) -> dict[int, int]:
    """Where each process ran last, from the files themselves."""
    return {
        int(pid): int(kernel.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[36])
        for pid in kernel.listdir("/proc")
        if pid.isdigit()
    }


async def test_keys_go_through_the_samples(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel, size=(140, 40)) as app:
        await shown(app, 1)
        first = {row.process.pid: row.process.cpu for row in app.table.rows}
        assert first == {pid: cpu for pid, cpu in cpus(kernel).items() if pid in first}
        await app.press("full_stop")
        await shown(app, 2)
        await app.press("right_curly_bracket")
        await shown(app, 12)
        later = {row.process.pid: row.process.cpu for row in app.table.rows}
        assert later != first
        assert later == {pid: cpu for pid, cpu in cpus(kernel).items() if pid in later}
        await app.press("right_curly_bracket")
        await shown(app, SAMPLES)
        await app.press("comma")
        await shown(app, SAMPLES - 1)
        await app.press("ctrl+o")
        await app.screen(Chooser)
        options = app.app.screen.query_one(OptionList)
        assert options.option_count == SAMPLES
        assert options.highlighted == SAMPLES - 2
        await app.press("home", "enter")
        await shown(app, 1)
        assert {row.process.pid: row.process.cpu for row in app.table.rows} == first
        assert all(len(moments) == 1 for moments in app.app.snapshot.history.values())


async def test_playing_ends_at_the_last_sample_and_begins_anew(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel, size=(140, 40)) as app:
        assert "stands still" in app.lines()[0]
        kernel.start(1e6)
        await app.read()
        await shown(app, SAMPLES)
        await app.until(lambda: "stands still" in app.lines()[0])
        await app.press("equals_sign")
        assert kernel.speed == 1.0
        await app.read()
        assert kernel.at < SAMPLES - 1
        await app.press("full_stop")
        assert kernel.speed == 0


async def test_nothing_can_be_changed(recording: Path) -> None:
    async with driving(RecordedKernel(recording), notifications=True) as app:
        assert "read-only" in app.lines()[0]
        assert "REPLAY" in app.lines()[0]


async def test_the_microscope_shows_the_frames_of_the_sample(recording: Path) -> None:
    kernel = RecordedKernel(recording)
    async with driving(kernel, size=(140, 40)) as app:
        await app.press("z")
        await app.screen(MicroscopeScreen)
        screen = app.app.screen
        assert isinstance(screen, MicroscopeScreen)
        await app.until(lambda: screen.seen is not None)
        assert screen.seen.cells.counts.sum() == screen.source.zones[0][1]
        assert "anon" in app.text()
        await app.press(*["plus"] * 30, "home")
        await app.until(lambda: "a recording tells no more of it" in app.text())
        await app.press("1")
        await app.until(lambda: "Node 1" in app.text())
        at = screen.seen.now
        await app.press("right_curly_bracket")
        await shown(app, 11)
        await app.until(lambda: screen.seen.now > at)
        assert "Follow the page" not in app.lines()[-1]
        await app.press("enter")
        assert app.app.screen is screen


async def test_recordings_from_elsewhere_have_neither(tmp_path: Path) -> None:
    from tests.trees import two_nodes

    async with driving(RecordedKernel(two_nodes(tmp_path))) as app:
        assert "sample" not in app.lines()[0]
        assert "time stands still" not in app.lines()[0]
        await app.press("z", "full_stop", "comma", "equals_sign")
        assert not isinstance(app.app.screen, MicroscopeScreen)
