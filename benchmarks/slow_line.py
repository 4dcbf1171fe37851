"""A program in the place of ssh with a long way: `slow_line.py SECONDS BYTES_A_SECOND WORD… COMMAND`. What goes through
is late by that much each way, and no faster than that."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress

_CHUNK = 1 << 14


def carry(source: int, target: int, delay: float, rate: float) -> None:
    """From one descriptor to another, until the source ends; then the target is closed."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def deliver() -> None:
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                while data:
                    data = data[os.write(target, data) :]
        os.close(target)

    threading.Thread(target=deliver).start()
    free = time.monotonic()
    while data := os.read(source, _CHUNK):
        free = max(free, time.monotonic()) + len(data) / rate
        waiting.put((free + delay, data))
    waiting.put((time.monotonic() + delay, b""))


def main() -> int:
    delay, rate, command = float(sys.argv[1]), float(sys.argv[2]), sys.argv[-1]
    process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    there = threading.Thread(target=carry, args=(0, os.dup(process.stdin.fileno()), delay, rate), daemon=True)
    process.stdin.close()
    there.start()
    carry(process.stdout.fileno(), os.dup(1), delay, rate)
    return process.wait()


if __name__ == "__main__":
    os._exit(main())
