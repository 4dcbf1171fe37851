"""The engine's own cost: a job on a real process of 2 GiB of 4 KiB pages, with a kernel whose move_pages only sleeps,
as long as a kernel of so many bytes a second a thread would take. Planning and verification are included.

Prints the speed reached and its ratio to the ideal (bytes a second a thread × workers). Needs root: frames are read.
`python benchmarks/engine.py [GIB [ROUNDS]]`"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from backend.job.job import Job
from backend.job.options import Options
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.kernel import Numbers
from backend.live.kernel import LiveKernel
from backend.selection.selection import Selection
from numatui.cli.printing.waiting import beside

GIB = 1 << 30
RATES = (1, 2, 4)
WORKERS = (1, 2, 4)

VICTIM = """
import ctypes, mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, size, 4096): memory[at] = 1
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
sys.stdin.read()
"""


FAR = 1 << 40
"""Added to the frame of a page that was moved. Far above any real memory."""


class Sleeping(LiveKernel):
    """This Linux as if it had two nodes, the victim's pages on node 0; a page that was moved is on node 1 from then on:
    its frame is `FAR` higher. `rate`: bytes a second of one thread; 0: it does not sleep."""

    def __init__(self, start: int, pages: int, rate: float) -> None:
        super().__init__()
        self.start, self.pages, self.rate = start, pages, rate
        self.moved = np.zeros(pages, np.uint64)
        self.migrated, self.lock = 0, threading.Lock()

    def listdir(self, path: str) -> list[str]:
        if path == "/sys/devices/system/node":
            return ["node0", "node1"]
        return ["meminfo", "cpulist"] if path.endswith("/node1") else super().listdir(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if path.endswith("/pagemap"):
            return self._pagemap(super().read(path, offset, size), offset // 8)
        if path.endswith(("/node/online", "/node/has_memory", "/node/has_normal_memory")):
            return b"0-1\n"
        if path.endswith("/distance"):
            return b"10 20\n"
        if path.endswith("/node1/cpulist"):
            return b"\n"
        if path == "/proc/vmstat":
            return b"pgmigrate_success %d\n" % self.migrated
        if path == "/proc/zoneinfo":
            return super().read(path) + b"Node 1, zone   Normal\n        spanned  %d\n  start_pfn:  %d\n" % (FAR, FAR)
        return super().read(path.replace("/node1/", "/node0/"), offset, size)

    def _pagemap(self, raw: bytes, first: int) -> bytes:
        begin = self.start // 4096
        low, high = max(first, begin), min(first + len(raw) // 8, begin + self.pages)
        if low >= high:
            return raw
        entries = np.frombuffer(raw, np.uint64).copy()
        entries[low - first : high - first] += self.moved[low - begin : high - begin]
        return entries.tobytes()

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        began = time.perf_counter()
        at = ((np.frombuffer(pages, np.uint64) - np.uint64(self.start)) >> np.uint64(12)).astype(np.int64)
        if nodes is not None:
            self.moved[at] = FAR if nodes[0] else 0
            with self.lock:
                self.migrated += len(pages)
        np.frombuffer(status, np.int32)[:] = (self.moved[at] != 0).astype(np.int32)
        if nodes is not None and self.rate:
            time.sleep(max(0.0, began + len(pages) * 4096 / self.rate - time.perf_counter()))
        return 0


def job(pid: int, start: int, size: int, rate: float, workers: int) -> float:
    """Seconds from the request to the outcome, which is checked."""
    kernel: Any = Sleeping(start, size // 4096, rate)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        request = MoveRequest(Selection((pid,)), "0", "1", mapping=f"{start:x}", method="move_pages")
        made = beside(lambda: plan(kernel, request))
        options = Options(workers=workers, journal_dir=Path(folder) / "jobs")
        outcome = beside(lambda: Job(kernel, made, options).run())
        took = time.perf_counter() - began
    if outcome.moved < size or not outcome.complete:
        raise SystemExit(f"it did not move: {outcome}")
    return took


def main(gib: float = 2.0, rounds: int = 3) -> None:
    size = int(gib * GIB)
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        start = int(one.stdout.readline())
        print(f"{gib:g} GiB of 4 KiB pages, median of {rounds}\n")
        print("| kernel | " + " | ".join(f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS) + " |")
        print("|---|" + "---|" * len(WORKERS))
        for rate in (0, *RATES):
            cells: list[str] = []
            for workers in WORKERS:
                took = statistics.median(job(one.pid, start, size, rate * GIB, workers) for _ in range(rounds))
                speed = size / took / GIB
                cells.append(f"{speed:.2f} GiB/s" + (f" ({speed / (rate * workers):.2f})" if rate else ""))
            print(f"| {f'{rate} GiB/s a thread' if rate else 'no sleep'} | " + " | ".join(cells) + " |", flush=True)
        one.kill()


if __name__ == "__main__":
    main(*(float(sys.argv[1]), *map(int, sys.argv[2:3])) if sys.argv[1:] else ())
