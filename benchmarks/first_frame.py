"""From the start of a command to the first frame on a terminal, beside an empty app of Textual: first_frame.py [N].

Then the same for an emulated machine of 3,000 processes, until its first process is seen."""

from __future__ import annotations

import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("first frame")
Empty().run()
"""
LONGEST = 60.0


def until(command: list[str], text: bytes) -> float:
    """Seconds until a program has written this text to its terminal."""
    ours, theirs = pty.openpty()
    ioctl(ours, TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    began = time.perf_counter()
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while time.perf_counter() - began < LONGEST:
            if select.select([ours], [], [], 0.5)[0]:
                seen += os.read(ours, 1 << 16)
                if text in seen:
                    return time.perf_counter() - began
        raise SystemExit(f"{command[0]}: nothing seen in {LONGEST:.0f} s")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def many(processes: int) -> str:
    """A scenario."""
    lines = ["machine:", "  profile: linux-6", "  nodes:"]
    lines += [f"    - {{id: {node}, memory: 4GiB, cpus: {8 * node}-{8 * node + 7}}}" for node in range(4)]
    lines.append("processes:")
    lines += [
        f"  - {{name: task{one}, node: {one % 4}, memory: [{{kind: heap, size: {1 + one % 3}MiB}}]}}"
        for one in range(processes)
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ours = [sys.executable, "-m", "numatui"]
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "many.yaml"
        large.write_text(many(3000))
        some = {
            "an empty app of Textual": ([sys.executable, "-c", EMPTY], b"first frame"),
            "numatui --demo, first frame": ([*ours, "--demo"], b"numatui"),
            "numatui --demo, first process": ([*ours, "--demo"], b"ora_dbw0"),
            "3,000 processes, first frame": ([*ours, "--demo", str(large)], b"numatui"),
            "3,000 processes, first process": ([*ours, "--demo", str(large)], b"task"),
        }
        base = 0.0
        for name, (command, text) in some.items():
            took = statistics.median(until(command, text) for _ in range(rounds))
            base = base or took
            print(f"{name:<34} {took * 1000:6.0f} ms, {took - base:+.2f} s")


main()
