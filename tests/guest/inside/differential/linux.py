"""Sequences on this Linux: a process for each, forked from this one, and a child of it."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import mmap
import os
import traceback
from pathlib import Path
from typing import IO, Any, NoReturn

from backend.live.kernel import LiveKernel
from tests.guest.inside import facilities
from tests.guest.inside.differential.play import PAGE, Answer, Process, address_of, play
from tests.guest.inside.differential.sequence import Step
from tests.guest.inside.rig import wait_until
from tests.guest.victim import MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, PROTECTION, check, libc

CGROUP = "sequences"
MAP_FIXED_NOREPLACE = 0x100000
EVEN = 12
"""The kernel adds a shared object's inode number to the page offset when it interleaves. A multiple of 1, 2, 3 and 4
makes no difference."""
_PATIENCE = 90
"""Seconds."""


class LinuxProcess(Process):
    """This process."""

    def __init__(self) -> None:
        self.kernel = LiveKernel()
        self.pid = os.getpid()

    def map(self, region: int, kind: str, pages: int) -> Answer:
        length = pages * PAGE
        if kind in ("tmpfs", "private"):
            file = _even_file(length)
            self._mmap(region, length, mmap.MAP_PRIVATE if kind == "private" else mmap.MAP_SHARED, file)
            os.close(file)
            return 0
        self._mmap(region, length, mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if kind == "shared" else mmap.MAP_PRIVATE))
        while kind == "shared" and _inode_at(address_of(region)) % EVEN:
            check(libc.munmap(address_of(region), length))
            self._mmap(region, length, mmap.MAP_ANONYMOUS | mmap.MAP_SHARED)
        if kind in ("anon", "thp"):
            check(libc.madvise(address_of(region), length, MADV_HUGEPAGE if kind == "thp" else MADV_NOHUGEPAGE))
        return 0

    @staticmethod
    def _mmap(region: int, length: int, flags: int, file: int = -1) -> None:
        where = ctypes.c_void_p(address_of(region))
        assert libc.mmap(where, length, PROTECTION, flags | MAP_FIXED_NOREPLACE, file, 0) == where.value

    def touch(self, region: int, first: int, count: int, write: bool) -> Answer:
        for page in range(first, first + count):
            if write:
                ctypes.memset(address_of(region, page), 1, 8)
            else:
                ctypes.string_at(address_of(region, page), 8)
        return 0

    def forget(self, region: int, first: int, count: int) -> Answer:
        check(libc.madvise(address_of(region, first), count * PAGE, MADV_DONTNEED))
        return 0

    def unmap(self, region: int, first: int, count: int) -> Answer:
        check(libc.munmap(address_of(region, first), count * PAGE))
        return 0

    def run_on(self, cpu: int) -> Answer:
        os.sched_setaffinity(0, [cpu])
        return 0


def _even_file(length: int) -> int:
    """A new file of tmpfs without a name, whose inode number adds nothing to where interleaving begins."""
    while True:
        path = f"/dev/shm/{CGROUP}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        if os.fstat(file).st_ino % EVEN == 0:
            os.ftruncate(file, length)
            return file
        os.close(file)


def _inode_at(address: int) -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.startswith(f"{address:x}-"):
            return int(line.split()[4])
    raise AssertionError(f"{address:x} is not mapped")


class Remote(Process):
    """The child, which does what it is told through pipes."""

    def __init__(self, local: LinuxProcess) -> None:
        here, there = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            local.pid = os.getpid()
            os.close(here[1])
            self._serve(local, os.fdopen(here[0]), there[1])
        self.said: IO[str] = os.fdopen(there[0])
        self.asks = here[1]
        os.close(here[0])
        os.close(there[1])
        self.call("run_on", min(os.sched_getaffinity(0)))

    @staticmethod
    def _serve(local: LinuxProcess, asked: IO[str], said: int) -> NoReturn:
        try:
            for line in asked:
                method, *arguments = json.loads(line)
                os.write(said, json.dumps(local.call(method, *arguments)).encode() + b"\n")
        except Exception:
            os.write(said, traceback.format_exc().encode())
        finally:
            os._exit(0)

    def call(self, method: str, *arguments: Any) -> Answer:
        os.write(self.asks, json.dumps([method, *arguments]).encode() + b"\n")
        line = self.said.readline()
        if not line or line.startswith("Traceback"):
            raise AssertionError(f"the child is gone, in {method}:\n{line}{self.said.read()}")
        return json.loads(line)


class LinuxMachine:
    """This Linux, as `A` sees it, which runs here."""

    def __init__(self, cpuset: str) -> None:
        local = LinuxProcess()
        self.kernel = local.kernel
        self.cpuset = cpuset
        self.processes: dict[str, Process] = {"A": local}

    def fork(self) -> None:
        local = self.processes["A"]
        assert isinstance(local, LinuxProcess)
        self.processes["B"] = Remote(local)

    def end(self) -> None:
        child = self.processes.pop("B")
        assert isinstance(child, Remote)
        os.close(child.asks)
        os.waitpid(child.pid, 0)


def on_linux(steps: list[Step]) -> list[Answer]:
    """Play a sequence in a process of its own, in a cgroup with all nodes, on the CPU of node 0."""
    folder = facilities.make_cpuset(CGROUP, "0-3")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _first(str(folder), steps, writer)
    os.close(writer)
    with os.fdopen(reader) as out:
        said = out.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), "the cgroup is empty")
    folder.rmdir()
    assert ended == 0, (
        f"the process ended with {ended} and said:\n{said}\nthe kernel:\n{facilities.kernel_log()[-2000:]}"
    )
    return json.loads(said)


def _first(cpuset: str, steps: list[Step], writer: int) -> NoReturn:
    code = 1
    with os.fdopen(writer, "w") as out:
        faulthandler.dump_traceback_later(_PATIENCE, exit=True, file=out)
        try:
            (Path(cpuset) / "cgroup.procs").write_text("0")
            os.sched_setaffinity(0, [0])
            machine = LinuxMachine(cpuset)
            answers = play(machine, steps)
            if "B" in machine.processes:
                machine.end()
            json.dump(answers, out)
            code = 0
        except Exception:
            traceback.print_exc(file=out)
    os._exit(code)
