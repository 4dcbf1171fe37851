"""What is really written to a terminal: no byte of a name gets there but as a visible character."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests import ROOT
from tests.trees import process_files, two_nodes, write

PATIENCE = 60.0
CONTROLS = [*range(1, 32), 127, *range(128, 160)]


def hostile() -> bytes:
    """Every control byte between two letters that tell where it was, and whole sequences."""
    one_by_one = b"".join(b"A" + bytes([code]) + b"Z" for code in CONTROLS)
    return one_by_one + b"\x1b]0;TITLE\x07\x1b[2J\x1b[31mRED\x1bP1$r\x1b\\\x9b31m\xc2\x9b31mC1"


class Screen:
    """The program in a pseudo-terminal, and all that it wrote there."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 200))
        environment = {
            **os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config"),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "numatui", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.written = b""

    def until(self, wanted: bytes, since: int = 0) -> None:
        end = time.monotonic() + PATIENCE
        while wanted not in self.written[since:]:
            assert time.monotonic() < end, f"{wanted!r} was not written: {self.written[-3000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.written += os.read(self.master, 1 << 16)

    def press(self, key: bytes, wanted: bytes) -> None:
        """A key, and what the screen shows then. Esc and what comes right after it would be one key: all is painted
        first."""
        since = len(self.written)
        os.write(self.master, key)
        self.until(wanted, since)
        end = time.monotonic() + PATIENCE
        while select.select([self.master], [], [], 0.3)[0]:
            assert time.monotonic() < end, f"it goes on painting after {key!r}: {self.written[-3000:]!r}"
            self.written += os.read(self.master, 1 << 16)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_no_control_byte_of_a_name_reaches_the_terminal_on_any_screen(tmp_path: Path) -> None:
    tree = two_nodes(tmp_path / "tree")
    files = {
        path: hostile() + b"\0" if path.endswith("/cmdline") else data
        for path, data in process_files(4242, hostile()[:15].replace(b")", b"")).items()
    }
    write(tree, files)
    screen = Screen(["--replay", str(tree)], tmp_path)
    try:
        screen.until(b"COMMAND")
        screen.until(b"4242")
        for key, wanted in (
            (b"\r", b"ADDRESS"), (b"\x1b", b"Space"), (b"m", b"FROM"), (b"\x1b", b"Space"), (b"n", b"MISS/s"),
            (b"\x1b", b"Space"), (b"a", b"GAIN"), (b"\x1b", b"Space"), (b"l", b"WHEN"), (b"\x1b", b"Space"),
            (b"v", b"by user"), (b"v", b"by cgroup"), (b"v", b"COMMAND"), (b"?", b"Signs"), (b"\x1b", b"Space"),
        ):  # fmt: skip
            screen.press(key, wanted)
    finally:
        screen.close()
    for code in CONTROLS:
        assert b"A" + bytes([code]) + b"Z" not in screen.written
    for part in (b"TITLE\x07", b"\x1b[31mRED", b"\x1bP1$r", b"\x9b31m", b"\xc2\x9b"):
        assert part not in screen.written
    assert b"A\\x01Z" in screen.written
