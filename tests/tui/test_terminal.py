"""In a real terminal: it starts, works, and leaves the terminal as it was, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.backend.fleet.emulated_hosts import EmulatedHosts

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
PATIENCE = 60.0


class Terminal:
    """A shell in tmux."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.name = f"numatui-test-{os.getpid()}-{time.monotonic_ns()}"
        root = ROOT
        environment = {
            **os.environ, "PYTHONPATH": str(root), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
            "TERM": "xterm-256color",
        }  # fmt: skip
        width, height = size
        self.tmux(
            "-f",
            "/dev/null",
            "-u",
            "new-session",
            "-d",
            "-x",
            str(width),
            "-y",
            str(height),
            "env PS1='ready> ' bash --norc --noprofile -i",
            env=environment,
        )
        self.until(lambda: "ready>" in self.text())

    def tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *words], capture_output=True, text=True, check=True, env=env)
        return done.stdout

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)

    def start(self, *arguments: str) -> int:
        """numatui, and its pid."""
        self.keys(f"{sys.executable} -m numatui {' '.join(arguments)}", "Enter")
        self.until(lambda: "processes" in self.text() and "COMMAND" in self.text())
        return self.child()

    def child(self) -> int:
        """What the shell has started."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[-1])

    def restored(self) -> None:
        """The shell has its terminal back: it echoes, and the screen is the one from before."""
        self.until(lambda: self.text().rstrip().endswith("ready>"))
        self.keys("echo the-$((40 + 2)); stty -a | grep -o ' -\\?echo '", "Enter")
        self.until(lambda: "the-42" in self.text())
        self.until(lambda: " echo" in self.text().partition("the-42")[2])
        assert "-echo" not in self.text().rpartition("the-42")[2]
        assert "COMMAND" not in self.text()

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True, check=False)


@pytest.fixture(params=[(80, 24), (160, 50)], ids=["80x24", "160x50"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path, request.param)
    yield one
    one.close()


def test_migrates_in_the_demo_takes_it_back_and_quits(terminal: Terminal) -> None:
    """As somebody new would, by what the screen says at the bottom."""
    terminal.start("--demo")
    assert "m Migrate" in terminal.text()
    terminal.keys("/", *"spark", "Enter", "m")
    terminal.until(lambda: "Migrate" in terminal.text() and "pages" in terminal.text())
    terminal.keys("Enter")
    terminal.until(lambda: "the same from a shell" in terminal.text())
    terminal.keys("y")
    terminal.until(lambda: "Job 1" in terminal.text() and "done" in terminal.text())
    terminal.until(lambda: "u Take it back" in terminal.text())
    terminal.keys("u")
    terminal.until(lambda: "back to where it came from?" in terminal.text())
    terminal.keys("y")
    terminal.until(lambda: "taking back job 1  done" in terminal.text())
    assert "before" in terminal.text()
    assert "after" in terminal.text()
    terminal.keys("q")
    terminal.until(lambda: "COMMAND" in terminal.text())
    terminal.keys("q")
    terminal.restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(terminal: Terminal, number: signal.Signals) -> None:
    pid = terminal.start("--demo", ";", "echo code-$?")
    os.kill(pid, number)
    terminal.until(lambda: f"code-{128 + number}" in terminal.text())
    terminal.restored()
    terminal.keys("clear", "Enter")
    assert not Path(f"/proc/{pid}").exists()


def test_a_signal_while_a_host_is_open_ends_the_fleet_too(terminal: Terminal, tmp_path: Path) -> None:
    """It came back to the fleet's screen, and was killed there with the terminal as it was."""
    hosts = EmulatedHosts(tmp_path, ["db1"], "scheduler-moves")
    try:
        fleet = f"{sys.executable} -m numatui fleet --hosts db1; echo code-$?"
        terminal.keys(f"export NUMATUI_SSH={hosts.ssh}; {fleet}", "Enter")
        terminal.until(lambda: "1 of 1 host" in terminal.text())
        terminal.keys("Enter")
        terminal.until(lambda: "db1 (" in terminal.text() and "processes" in terminal.text())
        os.kill(terminal.child(), signal.SIGTERM)
        terminal.until(lambda: "code-143" in terminal.text())
        terminal.restored()
        assert "FLEET" not in terminal.text()
    finally:
        hosts.end()


def test_stops_for_the_shell_and_comes_back(terminal: Terminal) -> None:
    terminal.start("--demo")
    terminal.keys("C-z")
    terminal.until(lambda: "Stopped" in terminal.text() or "ready>" in terminal.text())
    terminal.keys("fg", "Enter")
    terminal.until(lambda: "COMMAND" in terminal.text() and "processes" in terminal.text())
    terminal.keys("q")
    terminal.restored()


def test_closing_the_window_ends_it(tmp_path: Path) -> None:
    one = Terminal(tmp_path, (80, 24))
    pid = one.start("--demo")
    one.close()
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "it goes on without a terminal"
        time.sleep(0.05)


@pytest.mark.parametrize(("screen", "asked"), [("", "1"), ("STY=1.pts-0.host ", "0")])
def test_inside_of_screen_it_leaves_the_mouse_alone(tmp_path: Path, screen: str, asked: str) -> None:
    one = Terminal(tmp_path, (80, 24))
    try:
        one.keys(f"{screen}{sys.executable} -m numatui --demo", "Enter")
        one.until(lambda: "COMMAND" in one.text())
        assert one.tmux("display-message", "-p", "#{mouse_any_flag}").strip() == asked
        one.keys("q")
        one.restored()
    finally:
        one.close()
