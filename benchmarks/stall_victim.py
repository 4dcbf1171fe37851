"""A process whose memory is moved or read while it times its own mmap, touch and munmap, two thousand times a second: what
it feels of it. Between two rounds it sleeps, so that two cores are enough for it and for those who move its memory.

As a program: `stall_victim.py FILE BYTES NODE CPU huge|small`; FILE is 24 bytes shared with the one who watches."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MIB = 1 << 20
_LOOP = 64 << 10
"""Bytes that the loop maps and touches each time."""
_PAUSE = 0.0005
"""Seconds between two rounds."""
_HUGE = 2 << 20
_SYS_MBIND, _BIND, _DEFAULT = 237, 2, 0


@dataclass
class StallVictim:
    """A running victim. Shared with it: which watch it is, the worst round in it, the number of rounds."""

    pid: int
    shared: mmap.mmap

    def begin(self) -> None:
        """Begin a new watch: returns when the victim has seen it."""
        (watch,) = struct.unpack_from("<Q", self.shared, 0)
        struct.pack_into("<Q", self.shared, 0, watch + 1)
        rounds = self.rounds
        while self.rounds < rounds + 2:
            time.sleep(0.001)

    @property
    def worst(self) -> float:
        """Seconds that the longest round of this watch took; also of one that is still under way."""
        rounds = self.rounds
        while self.rounds < rounds + 2:
            time.sleep(0.001)
        return struct.unpack_from("<Q", self.shared, 8)[0] / 1e9

    @property
    def rounds(self) -> int:
        return struct.unpack_from("<Q", self.shared, 16)[0]


@contextmanager
def stall_victim(size: int, node: int, cpu: int, huge: bool) -> Iterator[StallVictim]:
    """A process on `cpu` with `size` bytes on `node`, in one mapping, of 4 KiB or of transparent huge pages."""
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        command = [
            sys.executable, "-I", "-S", __file__, f"/proc/{os.getpid()}/fd/{file.fileno()}", str(size), str(node), str(cpu),
            "huge" if huge else "small",
        ]  # fmt: skip
        with subprocess.Popen(command) as process:
            victim = StallVictim(process.pid, shared)
            try:
                while not victim.rounds:
                    if process.poll() is not None:
                        raise SystemExit("the victim could not start")
                    time.sleep(0.05)
                yield victim
            finally:
                process.kill()


def live(path: str, size: int, node: int, cpu: int, huge: bool) -> None:
    """The victim itself: never returns."""
    os.sched_setaffinity(0, [cpu])
    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    memory = mmap.mmap(-1, size + _HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    first = -start % _HUGE
    libc = ctypes.CDLL(None, use_errno=True)
    for mode, mask in ((_BIND, ctypes.c_ulong(1 << node)), (_DEFAULT, None)):
        failed = libc.syscall(
            ctypes.c_long(_SYS_MBIND), ctypes.c_void_p(start + first), ctypes.c_ulong(size), ctypes.c_long(mode),
            ctypes.byref(mask) if mask else None, ctypes.c_ulong(65 if mask else 0), ctypes.c_ulong(0),
        )  # fmt: skip
        if failed:
            raise SystemExit(f"mbind: {os.strerror(ctypes.get_errno())}")
        for offset in range(first, first + size, mmap.PAGESIZE) if mask else ():
            memory[offset] = 1
    watch = worst = rounds = 0
    while True:
        (now,) = struct.unpack_from("<Q", shared, 0)
        if now != watch:
            watch, worst = now, 0
        began = time.perf_counter_ns()
        with mmap.mmap(-1, _LOOP, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as own:
            for offset in range(0, _LOOP, mmap.PAGESIZE):
                own[offset] = 1
        worst = max(worst, time.perf_counter_ns() - began)
        rounds += 1
        struct.pack_into("<QQ", shared, 8, worst, rounds)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    live(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5] == "huge")
