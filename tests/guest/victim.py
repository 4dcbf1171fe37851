"""A process with memory of known layout and known contents, for moving: `python victim.py`, then commands as JSON lines.

Each command is a list on one line of stdin (`["allocate", {…}]`), each answer one JSON document on one line of stdout.
It needs nothing but Python, the C library and Linux on x86-64, and reads no file after it has said that it has started.

    allocate {region: {"kind": KIND, "on": {node: pages}, "policy": bool}}   → {region: [address, bytes]}
    verify                     → null, or what is wrong: every page still holds what was written at its own address
    touch                      write every page (the same contents)
    churn THREADS / calm       threads map, fill, check and unmap memory of their own, and check the regions meanwhile
                               → {"rounds": N, "wrong": null or text}
    spin SECONDS               keep the CPU busy without touching the regions
    fork                       a child that maps the same pages and only waits → its pid
    pin REGION PAGES           put the first pages of a region into a pipe without copying (vmsplice)
    exit

KIND: anon (small pages), thp (transparent huge pages), huge (hugetlb, 2 MiB), shared (shared anonymous), locked
(mlock). `policy`: whether the region keeps its binding afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import struct
import sys
import threading
import time
from typing import Any, NoReturn

PAGE = 4096
HUGE = 2 << 20
SYS_VMSPLICE, SYS_MBIND = 278, 237
MPOL_DEFAULT, MPOL_BIND = 0, 2
MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_READ = 14, 15, 22
MAP_HUGETLB, MAP_NORESERVE = 0x40000, 0x4000
PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
for _call in (libc.munmap, libc.mlock):
    _call.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.syscall.restype = ctypes.c_long


class Iovec(ctypes.Structure):
    """struct iovec of writev(2)."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def check(result: int) -> int:
    """The result of a call of the C library, or OSError."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def map_memory(length: int, flags: int) -> int:
    """mmap(2): the address."""
    address = libc.mmap(None, length, PROTECTION, flags | mmap.MAP_ANONYMOUS, -1, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


def mbind(address: int, length: int, mode: int, node: int = 0) -> None:
    """mbind(2) to one node, or back to the default policy."""
    mask = ctypes.c_ulong(1 << node) if mode != MPOL_DEFAULT else None
    check(
        libc.syscall(
            ctypes.c_long(SYS_MBIND),
            ctypes.c_void_p(address),
            ctypes.c_ulong(length),
            ctypes.c_long(mode),
            ctypes.byref(mask) if mask is not None else None,
            ctypes.c_ulong(65 if mask is not None else 0),
            ctypes.c_ulong(0),
        )
    )


def populate() -> None:
    """Map every page of the files that this process has mapped, so that none of them turns up later."""
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0:2] for line in maps if "/" in line]
    for addresses, permissions in ranges:
        start, end = (int(one, 16) for one in addresses.split("-"))
        if permissions.startswith("r"):
            libc.madvise(start, end - start, MADV_POPULATE_READ)


def contents(address: int) -> bytes:
    """What the page at this address must hold: its own address, scrambled, over and over."""
    return struct.pack("<Q", (address * 0x9E3779B97F4A7C15) & (1 << 64) - 1) * (PAGE // 8)


class Victim:
    """The regions and what can be done with them."""

    def __init__(self) -> None:
        self.regions: dict[str, tuple[int, int]] = {}
        self.kept: list[int] = []
        self.threads: list[threading.Thread] = []
        self.stop = threading.Event()
        self.rounds = 0
        self.wrong: str | None = None

    def allocate(self, layout: dict[str, dict[str, Any]]) -> dict[str, tuple[int, int]]:
        for name, region in layout.items():
            self.regions[name] = self._region(region)
        return self.regions

    def _region(self, region: dict[str, Any]) -> tuple[int, int]:
        kind = region.get("kind", "anon")
        amounts = {int(node): pages * PAGE for node, pages in region["on"].items()}
        length = sum(amounts.values())
        if kind == "huge":
            start = map_memory(length, mmap.MAP_PRIVATE | MAP_HUGETLB)
        elif kind == "shared":
            start = map_memory(length, mmap.MAP_SHARED)
        else:
            start = -(-map_memory(length + HUGE, mmap.MAP_PRIVATE | MAP_NORESERVE) // HUGE) * HUGE
            check(libc.madvise(start, length, MADV_HUGEPAGE if kind == "thp" else MADV_NOHUGEPAGE))
        position = start
        for node, amount in amounts.items():
            mbind(position, amount, MPOL_BIND, node)
            self._fill(position, amount)
            position += amount
        if not region.get("policy"):
            mbind(start, length, MPOL_DEFAULT)
        if kind == "locked":
            check(libc.mlock(start, length))
        return start, length

    def _fill(self, start: int, length: int) -> None:
        for address in range(start, start + length, PAGE):
            ctypes.memmove(address, contents(address), PAGE)

    def verify(self) -> str | None:
        for name, (start, length) in self.regions.items():
            for address in range(start, start + length, PAGE):
                if ctypes.string_at(address, PAGE) != contents(address):
                    return f"page {address:x} of {name} does not hold what was written there"
        return None

    def touch(self) -> None:
        for start, length in self.regions.values():
            self._fill(start, length)

    def churn(self, threads: int) -> None:
        self.stop.clear()
        self.threads = [threading.Thread(target=self._churn, args=(number,)) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def _churn(self, number: int) -> None:
        length = 16 * PAGE
        while not self.stop.is_set() and self.wrong is None:
            try:
                start = map_memory(length, mmap.MAP_PRIVATE)
                self._fill(start, length)
                for address in range(start, start + length, PAGE):
                    if ctypes.string_at(address, PAGE) != contents(address):
                        self.wrong = f"page {address:x} of thread {number}"
                check(libc.munmap(start, length))
                if number == 0:
                    self.wrong = self.wrong or self.verify()
            except OSError as exc:
                self.wrong = f"thread {number}: {exc}"
            self.rounds += 1

    def calm(self) -> dict[str, Any]:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return {"rounds": self.rounds, "wrong": self.wrong}

    def spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def fork(self) -> int:
        """The child ends when this process does: it waits for the end of a pipe that only this one holds."""
        waiting, held = os.pipe()
        ready, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(held)
            for start, length in self.regions.values():
                for address in range(start, start + length, PAGE):
                    ctypes.string_at(address, 8)
            os.write(said, b"!")
            os.read(waiting, 1)
            os._exit(0)
        os.read(ready, 1)
        self.kept.append(held)
        return pid

    def pin(self, region: str, pages: int) -> int:
        """The number of bytes that are now in the pipe."""
        start, _ = self.regions[region]
        reader, writer = os.pipe()
        self.kept += [reader, writer]
        iovec = Iovec(start, pages * PAGE)
        return check(
            libc.syscall(
                ctypes.c_long(SYS_VMSPLICE), writer, ctypes.byref(iovec), ctypes.c_ulong(1), ctypes.c_uint(0)
            )
        )

    def exit(self) -> NoReturn:
        os._exit(0)


def main() -> int:
    victim = Victim()
    populate()
    print('"started"', flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = getattr(victim, name)(*arguments)
        except OSError as exc:
            answer = {"failed": errno.errorcode.get(exc.errno or 0, str(exc))}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
