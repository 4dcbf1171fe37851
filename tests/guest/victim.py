"""A process with memory of known layout and known contents, for moving: `python victim.py`, then commands as JSON
lines.

Each command is a list on one line of stdin (`["allocate", {…}]`), each answer one JSON document on one line of stdout.
It needs nothing but Python, the C library and Linux on x86-64, and reads no file after it has said that it has started.

    allocate {region: {"kind": KIND, "on": {node: pages}, "untouched": pages, "policy": bool}} → {region: [address,
    bytes]}; the untouched pages come last verify                     → null, or what is wrong: every page still holds
    what was written at its own address touch                      write every page (the same contents) bind REGION MODE
    NODES FLAGS FIRST COUNT   mbind(2) of some of a region's pages set_policy MODE NODES      set_mempolicy(2) lock
    REGION                mlock(2) page_out REGION            madvise(2) MADV_PAGEOUT sync REGION
    fsync(2) of a file forget REGION              a synced file's pages leave memory; the next touch reads them from its
    device churn THREADS FORKS / calm   threads map, fill, check and unmap memory of their own, and check the regions
    meanwhile; so many others fork children that end at once → {"rounds": N, "wrong": null or text} spin SECONDS
    keep the CPU busy without touching the regions fork NODE                  a child that maps the same pages and only
    waits → its pid; with a node, it writes them first: then it has pages of its own, on that node pin REGION PAGES
    put the first pages of a region into a pipe without copying (vmsplice) register REGION PAGES      make them a buffer
    of an io_uring merge PAGES NODE           so many pages with the same contents, for KSM → [address, bytes] sparse
    BYTES PAGES NODE    a mapping of that size in which single pages, far from each other, are on a node → its address
    unmap REGION               munmap(2) set_dumpable BOOL          whether others of its user may look at it and move
    its pages exec                       become another program, which waits; it answers nothing any more exit

KIND: anon (small pages), thp (transparent huge pages), huge (hugetlb, 2 MiB), shared (shared anonymous), locked
(mlock), file (a new one at "path", mapped "private" or shared; "dirty": written to through the mapping; "unlinked": its
name is gone). `policy`: whether the region keeps its binding afterwards.
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
SYS_VMSPLICE, SYS_MBIND, SYS_SET_MEMPOLICY = 278, 237, 238
SYS_IO_URING_SETUP, SYS_IO_URING_REGISTER, IORING_REGISTER_BUFFERS = 425, 427, 0
MPOL_DEFAULT, MPOL_BIND = 0, 2
PR_SET_DUMPABLE = 4
MADV_MERGEABLE = 12
MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT, MADV_POPULATE_READ = 4, 14, 15, 21, 22
MAP_HUGETLB, MAP_NORESERVE = 0x40000, 0x4000
PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
for _call in (libc.munmap, libc.mlock):
    _call.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
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


def map_memory(length: int, flags: int, file: int = -1) -> int:
    """mmap(2): the address."""
    flags |= mmap.MAP_ANONYMOUS if file < 0 else 0
    address = libc.mmap(None, length, PROTECTION, flags, file, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


def mbind(address: int, length: int, mode: int, nodes: tuple[int, ...] = (), flags: int = 0) -> None:
    """mbind(2)."""
    check(
        libc.syscall(
            ctypes.c_long(SYS_MBIND),
            ctypes.c_void_p(address),
            ctypes.c_ulong(length),
            ctypes.c_long(mode),
            *_mask(nodes),
            ctypes.c_ulong(flags),
        )
    )


def set_mempolicy(mode: int, nodes: tuple[int, ...] = ()) -> None:
    """set_mempolicy(2)."""
    check(libc.syscall(ctypes.c_long(SYS_SET_MEMPOLICY), ctypes.c_long(mode), *_mask(nodes)))


def _mask(nodes: tuple[int, ...]) -> tuple[Any, Any]:
    if not nodes:
        return None, ctypes.c_ulong(0)
    return ctypes.byref(ctypes.c_ulong(sum(1 << node for node in nodes))), ctypes.c_ulong(65)


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
        self.files: dict[str, int] = {}
        self.kept: list[int] = []
        self.threads: list[threading.Thread] = []
        self.stop = threading.Event()
        self.rounds = 0
        self.wrong: str | None = None

    def allocate(self, layout: dict[str, dict[str, Any]]) -> dict[str, tuple[int, int]]:
        for name, region in layout.items():
            self.regions[name] = self._region(name, region)
        return self.regions

    def _region(self, name: str, region: dict[str, Any]) -> tuple[int, int]:
        kind = region.get("kind", "anon")
        amounts = {int(node): pages * PAGE for node, pages in region["on"].items()}
        length = sum(amounts.values()) + region.get("untouched", 0) * PAGE
        if kind == "file":
            return self._file(name, region, amounts, length), length
        if kind == "huge":
            start = map_memory(length, mmap.MAP_PRIVATE | MAP_HUGETLB)
        elif kind == "shared":
            start = map_memory(length, mmap.MAP_SHARED)
        else:
            start = -(-map_memory(length + HUGE, mmap.MAP_PRIVATE | MAP_NORESERVE) // HUGE) * HUGE
            check(libc.madvise(start, length, MADV_HUGEPAGE if kind == "thp" else MADV_NOHUGEPAGE))
        position = start
        for node, amount in amounts.items():
            mbind(position, amount, MPOL_BIND, (node,))
            self._fill(position, amount)
            position += amount
        if not region.get("policy"):
            mbind(start, length, MPOL_DEFAULT)
        if kind == "locked":
            check(libc.mlock(start, length))
        return start, length

    def _file(self, name: str, region: dict[str, Any], amounts: dict[int, int], length: int) -> int:
        """Written through its descriptor under a policy of the process, which says where the pages of the cache lie."""
        file = self.files[name] = os.open(region["path"], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(file, length)
        start = map_memory(length, mmap.MAP_PRIVATE if region.get("private") else mmap.MAP_SHARED, file)
        position = start
        for node, amount in amounts.items():
            set_mempolicy(MPOL_BIND, (node,))
            for address in range(position, position + amount, PAGE):
                os.pwrite(file, contents(address), address - start)
            position += amount
        set_mempolicy(MPOL_DEFAULT)
        os.fsync(file)
        if region.get("dirty"):
            self._fill(start, length)
        self._read(start, length)
        if region.get("unlinked"):
            os.unlink(region["path"])
        return start

    def _read(self, start: int, length: int) -> None:
        for address in range(start, start + length, PAGE):
            ctypes.string_at(address, 8)

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

    def bind(self, region: str, mode: int, nodes: list[int], flags: int, first: int, count: int) -> None:
        start, _ = self.regions[region]
        mbind(start + first * PAGE, count * PAGE, mode, tuple(nodes), flags)

    def set_policy(self, mode: int, nodes: list[int]) -> None:
        set_mempolicy(mode, tuple(nodes))

    def lock(self, region: str) -> None:
        check(libc.mlock(*self.regions[region]))

    def page_out(self, region: str) -> None:
        check(libc.madvise(*self.regions[region], MADV_PAGEOUT))

    def sync(self, region: str) -> None:
        os.fsync(self.files[region])

    def forget(self, region: str) -> None:
        check(libc.madvise(*self.regions[region], MADV_DONTNEED))
        os.posix_fadvise(self.files[region], 0, 0, os.POSIX_FADV_DONTNEED)

    def churn(self, threads: int, forks: int = 0) -> None:
        self.stop.clear()
        self.threads = [threading.Thread(target=self._churn, args=(number,)) for number in range(threads)]
        self.threads += [threading.Thread(target=self._fork_on) for _ in range(forks)]
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

    def _fork_on(self) -> None:
        while not self.stop.is_set() and self.wrong is None:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
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

    def fork(self, node: int | None = None) -> int:
        """The child ends when this process does: it waits for the end of a pipe that only this one holds."""
        waiting, held = os.pipe()
        ready, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(held)
            if node is not None:
                set_mempolicy(MPOL_BIND, (node,))
                self.touch()
            for start, length in self.regions.values():
                self._read(start, length)
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
            libc.syscall(ctypes.c_long(SYS_VMSPLICE), writer, ctypes.byref(iovec), ctypes.c_ulong(1), ctypes.c_uint(0))
        )

    def register(self, region: str, pages: int) -> None:
        ring = check(libc.syscall(SYS_IO_URING_SETUP, ctypes.c_uint(4), ctypes.create_string_buffer(120)))
        self.kept.append(ring)
        iovec = Iovec(self.regions[region][0], pages * PAGE)
        check(libc.syscall(SYS_IO_URING_REGISTER, ring, IORING_REGISTER_BUFFERS, ctypes.byref(iovec), 1))

    def merge(self, pages: int, node: int) -> tuple[int, int]:
        length = pages * PAGE
        start = map_memory(length, mmap.MAP_PRIVATE)
        check(libc.madvise(start, length, MADV_NOHUGEPAGE))
        mbind(start, length, MPOL_BIND, (node,))
        ctypes.memset(start, 7, length)
        check(libc.madvise(start, length, MADV_MERGEABLE))
        return start, length

    def sparse(self, length: int, pages: int, node: int) -> int:
        start = map_memory(length, mmap.MAP_PRIVATE | MAP_NORESERVE)
        check(libc.madvise(start, length, MADV_NOHUGEPAGE))
        set_mempolicy(MPOL_BIND, (node,))
        for number in range(pages):
            address = start + length // pages * number // PAGE * PAGE
            self._fill(address, PAGE)
            self.regions[f"page {number}"] = address, PAGE
        set_mempolicy(MPOL_DEFAULT)
        return start

    def shatter(self, region: str) -> None:
        """Every other page becomes a mapping of its own."""
        start, length = self.regions[region]
        for address in range(start, start + length, 2 * PAGE):
            check(libc.mprotect(address, PAGE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))

    def unmap(self, region: str) -> None:
        check(libc.munmap(*self.regions.pop(region)))

    def set_dumpable(self, dumpable: bool) -> None:
        check(libc.prctl(PR_SET_DUMPABLE, int(dumpable), 0, 0, 0))

    def exec(self) -> NoReturn:
        os.execv("/bin/sleep", ["sleep", "1000"])

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
