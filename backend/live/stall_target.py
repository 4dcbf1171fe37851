"""A process that measures how long it stalls while others move or read its memory.

Two thousand times a second it times one round of mmap, touch and munmap. It sleeps between rounds, so that two cores
suffice for it and for the movers of its memory. It ends with its parent.

The target runs as a program, without the rest of this package: `stall_target.py FD PARENT MBIND BYTES NODE CPU
huge|small`. MBIND is the number of mbind(2). FD is a file that it shares with its parent, five 64-bit words: number of
the watch, longest round of this watch (ns), number of rounds, address of the memory, and whether the memory holds the
values written at start (1 or 0, checked at the start of each watch). Both sides read and write whole words through a
memoryview: `struct.pack_into` sets its bytes to 0 first, and the other side sees that."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

_LOOP = 64 << 10
"""Bytes that a round maps and touches."""
_PAUSE = 0.0005
"""Seconds between two rounds."""
_HUGE = 2 << 20  # bytes, alignment of the memory: a transparent huge page of x86-64
_BIND, _DEFAULT = 2, 0  # MPOL_BIND, MPOL_DEFAULT (include/uapi/linux/mempolicy.h)
_WATCH, _WORST, _ROUNDS, _ADDRESS, _INTACT = range(5)
"""The words of the shared file."""
_WAIT = 60.0
"""Seconds to wait for a round: far longer than any stall."""


@dataclass
class StallTarget:
    """A running target. `words`: the five words of the module's docstring."""

    pid: int
    words: memoryview[int]

    def begin(self) -> None:
        """Start a new watch. Returns when the target has seen it."""
        self.words[_WATCH] += 1
        self._rounds()

    @property
    def worst(self) -> float:
        """Seconds of the longest round of this watch, including the round in progress."""
        self._rounds()
        return self.words[_WORST] / 1e9

    @property
    def address(self) -> int:
        return self.words[_ADDRESS]

    @property
    def intact(self) -> bool:
        """Whether the memory held the written values at the start of the last watch."""
        return self.words[_INTACT] == 1

    def _rounds(self) -> None:
        # Two rounds: the first may have begun before the call.
        until, end = self.words[_ROUNDS] + 2, time.monotonic() + _WAIT
        while self.words[_ROUNDS] < until and time.monotonic() < end:
            time.sleep(0.001)

    @property
    def is_up(self) -> bool:
        return self.words[_ROUNDS] > 0


@contextmanager
def stall_target(size: int, node: int, cpu: int, huge: bool) -> Generator[StallTarget]:
    """Start a target on `cpu` with `size` bytes on `node`, in one mapping of base pages or of transparent huge pages.
    It is killed at the end. Raises OSError (ENOMEM if it could not get its memory)."""
    from backend.live.syscalls import NUMBERS

    mbind = NUMBERS[platform.machine()]["mbind"]
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        given = [file.fileno(), os.getpid(), mbind, size, node, cpu, "huge" if huge else "small"]
        command = [sys.executable, "-I", "-S", __file__, *map(str, given)]
        with subprocess.Popen(command, pass_fds=(file.fileno(),), stderr=subprocess.DEVNULL) as process:
            target = StallTarget(process.pid, memoryview(shared).cast("Q"))
            try:
                while not target.is_up:
                    if process.poll() is not None:
                        raise OSError(process.returncode, os.strerror(process.returncode))
                    time.sleep(0.01)
                yield target
            finally:
                process.kill()


def live(fd: int, parent: int, mbind: int, size: int, node: int, cpu: int, huge: bool) -> int:
    """The target itself. Returns an errno if its memory cannot be bound, or 0 when its parent has ended."""
    if cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, [cpu])
    words = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("Q")
    memory = mmap.mmap(-1, size + _HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    first = -start % _HUGE
    libc = ctypes.CDLL(None, use_errno=True)
    # MPOL_BIND places the pages, MPOL_DEFAULT then clears the policy. 16 words: 1,024 bits, the largest MAX_NUMNODES.
    for mode, mask in ((_BIND, (ctypes.c_ulong * 16)()), (_DEFAULT, None)):
        if mask is not None:
            mask[node // 64] = 1 << node % 64
        failed = libc.syscall(
            ctypes.c_long(mbind), ctypes.c_void_p(start + first), ctypes.c_ulong(size),
            ctypes.c_long(mode), ctypes.byref(mask) if mask is not None else None,
            ctypes.c_ulong(1024 if mask is not None else 0), ctypes.c_ulong(0),
        )  # fmt: skip
        if failed:
            return ctypes.get_errno()
        for offset in range(first, first + size, mmap.PAGESIZE) if mask is not None else ():
            struct.pack_into("<Q", memory, offset, offset)
    words[_ADDRESS] = start + first
    watch = worst = rounds = 0
    intact = 1
    while os.getppid() == parent:
        now = words[_WATCH]
        if now != watch:
            watch, worst = now, 0
            for offset in range(first, first + size, max(mmap.PAGESIZE, size >> 12)):
                intact &= struct.unpack_from("<Q", memory, offset)[0] == offset
        began = time.perf_counter_ns()
        with mmap.mmap(-1, _LOOP, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as own:
            for offset in range(0, _LOOP, mmap.PAGESIZE):
                own[offset] = 1
        worst = max(worst, time.perf_counter_ns() - began)
        rounds += 1
        words[_WORST], words[_INTACT] = worst, intact
        words[_ROUNDS] = rounds  # last: who waits for a round then finds its figures
        time.sleep(_PAUSE)
    return 0


if __name__ == "__main__":
    _fd, _parent, _mbind, _size, _node, _cpu = (int(word) for word in sys.argv[1:7])
    sys.exit(live(_fd, _parent, _mbind, _size, _node, _cpu, sys.argv[7] == "huge"))
