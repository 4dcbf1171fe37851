"""A line is there at once; where the terminal UI does not come, the terminal is as it was before the error is said."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from numatui.tui.first_frame import FirstFrame
from tests.tui.test_terminal_bytes import Screen

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def test_the_line_is_there_before_the_ui_and_the_terminal_comes_back_once(tmp_path: Path) -> None:
    screen = Screen(["--demo", "scheduler-moves"], tmp_path)
    screen.until("opening the demo …".encode())
    first = screen.written
    assert first.startswith(ENTER)
    screen.until(b"processes")
    os.write(screen.master, b"q")
    screen.until(LEAVE)
    assert screen.process.wait(60) == 0
    assert screen.written.count(LEAVE) == 1


def test_an_error_is_said_on_the_screen_that_was_there(tmp_path: Path) -> None:
    screen = Screen(["--replay", str(tmp_path / "nothing")], tmp_path)
    screen.until(b"cannot be read")
    assert screen.process.wait(60) != 0
    told = screen.written.index(b"cannot be read")
    assert screen.written.index(LEAVE) < told
    assert screen.written.rindex(ENTER) < screen.written.index(LEAVE)


@pytest.mark.parametrize("terminal", ["dumb", "unknown", ""])
def test_without_a_terminal_that_can_draw_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str
) -> None:
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr(os, "isatty", lambda _: True)
    frame = FirstFrame()
    frame.show("…")
    frame.leave()
    assert capsys.readouterr().err == ""


def test_a_signal_before_the_ui_is_there_gives_the_terminal_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    frame = FirstFrame()
    frame.show("…")
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err.endswith(LEAVE.decode())
    assert signal.getsignal(signal.SIGTERM) == before
