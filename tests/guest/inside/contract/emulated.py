"""An emulated machine that is driven as the guest is, with what it runs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.cgroupfs import directory
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import MachineSpec, NodeSpec
from backend.emulator.mm.fault import touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mlock import mlock
from backend.emulator.mm.mm import PTE_PRESENT, VM, Indices, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.mm.zap import zap
from backend.emulator.profile import Profile
from backend.emulator.scenario.layout import populate
from backend.emulator.storage.file_io import create, fsync, mount, unlink
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.reclaim import Reclaimer
from backend.emulator.storage.swap import SwapArea
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.nodeset import CpuSet, NodeSet
from numatui.cli.app import run
from numatui.cli.source import KernelChoice
from tests.emulator.invariants import check_at_rest
from tests.guest.inside.rig import MiB, Result, region_pages, vmstat

DISTANCES = [[10, 16, 22, 28], [16, 10, 28, 22], [22, 28, 10, 16], [28, 22, 16, 10]]
"""As guest.sh describes the machine with four nodes."""
SWAP = 16 * MiB


class EmulatedVictim:
    """A task of an emulated machine that watches what was last stored to every page."""

    def __init__(self, kernel: EmulatedKernel, task: Task) -> None:
        self.kernel, self.machine, self.task = kernel, kernel.machine, task
        self.own = EmulatedKernel(self.machine, Caller(task.uid, task.uid == 0, task.pid))
        self.regions: dict[str, tuple[int, int]] = {}
        self.files: dict[str, AddressSpace] = {}

    @property
    def pid(self) -> int:
        return self.task.pid

    def allocate(self, name: str, region: dict[str, Any]) -> None:
        """A region in the words of victim.py."""
        m, on, kind = self.machine, region["on"], region.get("kind", "anon")
        pages = sum(on.values()) + region.get("untouched", 0)
        vma = mmap(m, self.task, pages, name=name, **self._mapping(name, region, pages))
        self.regions[name] = vma.start, pages
        position = 0
        for node, count in on.items():
            populate(m, vma, np.arange(position, position + count, dtype=np.int64), node)
            position += count
        if kind == "shared" or region.get("dirty"):
            self._access(self.task, vma.start, np.arange(position, dtype=np.int64), write=True)
        if kind == "locked":
            m.run(mlock(m, self.task, vma.start, pages))
        if region.get("unlinked"):
            m.run(unlink(m, self.files[name], self.task.leader.cpu))

    def _mapping(self, name: str, region: dict[str, Any], pages: int) -> dict[str, Any]:
        m, kind = self.machine, region.get("kind", "anon")
        shared = VM.WRITE | VM.SHARED
        if kind == "shared":
            space = create(m, m.shm, "/dev/zero", pages, unlinked=True)
            return {"kind": "shared", "file": space, "flags": shared}
        if kind == "file":
            wanted = region["filesystem"]
            fs = m.filesystems.get(wanted) or mount(m, wanted, m.profile.filesystem_types[wanted])
            space = self.files[name] = create(m, fs, f"/{wanted}/{name}", pages)
            return {"kind": "file", "file": space, "flags": VM.WRITE if region.get("private") else shared}
        return {"flags": VM.WRITE | VM.HUGEPAGE if kind == "thp" else VM.WRITE}

    def pages(self, region: str = "memory") -> dict[int, int]:
        return region_pages(self.kernel, self.pid, self.addresses(region))

    def addresses(self, region: str = "memory") -> range:
        start, pages = self.regions[region]
        return range(start, start + pages * self.machine.page_size, self.machine.page_size)

    def verify(self) -> None:
        for start, pages in self.regions.values():
            index = np.arange(pages, dtype=np.int64)
            self._access(self.task, start, index, write=False)
            found = 0
            assert self.task.mm is not None
            for vma, local in self.task.mm.spans(start, index):
                found += len(local)
                self._check(vma, local)
            assert found == pages
        check_at_rest(self.machine)

    def _check(self, vma: Vma, local: Indices) -> None:
        """Anonymous pages hold what was stored in this mapping, others what was stored in their file."""
        assert ((vma.pte[local] & PTE_PRESENT) != 0).all()
        pfns = vma.pfns(local)
        assert vma.expected is not None
        wanted = vma.expected[local]
        filed = self.machine.frames.mapping[pfns] < 0
        if filed.any():
            assert vma.file is not None
            assert vma.file.expected is not None
            wanted[filed] = vma.file.expected[vma.pgoff + local[filed]]
        assert (self.machine.frames.contents[pfns] == wanted).all()

    def touch(self) -> None:
        for start, pages in self.regions.values():
            self._access(self.task, start, np.arange(pages, dtype=np.int64), write=True)

    def _access(self, task: Task, start: int, index: Indices, write: bool) -> None:
        self.machine.run(touch(self.machine, task, task.leader, start, index, write=write))

    def run_on(self, node: int) -> None:
        schedule(self.machine, self.task, node)

    def bind(
        self, mode: int, nodes: list[int], flags: int = 0, part: range | None = None, region: str = "memory"
    ) -> None:
        pages = self.addresses(region)
        pages = pages[part.start : part.stop] if part else pages
        self.own.mbind(pages.start, len(pages) * self.machine.page_size, mode, NodeSet(nodes).mask(), 65, flags)

    def set_policy(self, mode: int, nodes: list[int]) -> None:
        self.own.set_mempolicy(mode, NodeSet(nodes).mask(), 65)

    def page_out(self, region: str = "memory") -> None:
        start, pages = self.regions[region]
        assert self.task.mm is not None
        for vma, local in self.task.mm.spans(start, np.arange(pages, dtype=np.int64)):
            self._reclaim(vma.pfns(local[(vma.pte[local] & PTE_PRESENT) != 0]))

    def _reclaim(self, pfns: Any) -> None:
        self.machine.pagevecs.lru_add_drain(self.task.leader.cpu)
        self.machine.run(Reclaimer.of(self.machine)._page_out(pfns))

    def sync(self, region: str = "memory") -> None:
        self.machine.run(fsync(self.machine, self.files[region]))

    def forget(self, region: str = "memory") -> None:
        space = self.files[region]
        for vma in self.machine.rmap.mapped(space):
            zap(self.machine, vma, np.arange(vma.pages, dtype=np.int64), self.task.leader.cpu)
        self._reclaim(space.pages[space.pages >= 0].copy())

    def fork(self) -> int:
        child: Task = self.machine.run(fork(self.machine, self.task))
        for start, pages in self.regions.values():
            self._access(child, start, np.arange(pages, dtype=np.int64), write=False)
        return child.pid

    def end(self) -> None:
        do_exit(self.machine, self.task)


def version(kernel: Kernel) -> tuple[int, ...]:
    """(6, 1) of Linux 6.1.0."""
    return tuple(int(part) for part in release(kernel).split(".")[:2])


class EmulatedBox:
    """An emulated machine of four nodes with 64 MiB each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, profile: Profile) -> None:
        nodes = [NodeSpec(node, 64 * MiB // 4096, CpuSet([node])) for node in range(4)]
        distances = {(a, b): value for a, row in enumerate(DISTANCES) for b, value in enumerate(row)}
        self.machine = boot(MachineSpec(profile, nodes, distances, watch=True))
        self.kernel = EmulatedKernel(self.machine)
        self.version = version(self.kernel)
        self.monkeypatch = monkeypatch
        spawn(self.machine, "init", cpu=0, command="/sbin/init")
        spawn(self.machine, "kthreadd", cpu=0, kernel_thread=True)

    def victim(
        self, on: dict[int, int], uid: int = 0, more: dict[str, dict[str, Any]] | None = None, **memory: Any
    ) -> EmulatedVictim:
        one = EmulatedVictim(self.kernel, spawn(self.machine, "victim", cpu=3, uid=uid, command="victim.py"))
        for name, region in {"memory": {"on": on, **memory}, **(more or {})}.items():
            one.allocate(name, region)
        return one

    def numatui(self, *arguments: object, uid: int = 0) -> Result:
        caller = EmulatedKernel(self.machine, Caller(uid, uid == 0))
        out, err = io.StringIO(), io.StringIO()
        with self.monkeypatch.context() as patch:
            patch.setattr(KernelChoice, "open", lambda _: caller)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run([str(one) for one in arguments])
        return Result(code, out.getvalue(), err.getvalue())

    @contextmanager
    def nearly_full(self, node: int, spare: int) -> Iterator[None]:
        free_pages = self.machine.frames.zones[node].free - spare // self.machine.page_size
        task = spawn(self.machine, "balloon", cpu=node)
        vma = mmap(self.machine, task, free_pages)
        populate(self.machine, vma, np.arange(free_pages, dtype=np.int64), node)
        yield
        do_exit(self.machine, task)

    @contextmanager
    def swap(self) -> Iterator[None]:
        before = self.machine.swap
        self.machine.swap = SwapArea(SWAP // self.machine.page_size)
        yield
        assert self.machine.swap.used == 0
        self.machine.swap = before

    def cpuset(self, name: str, mems: str) -> str:
        made = Cpusets.of(self.machine).create(name, mems=NodeSet.parse_list(mems))
        return directory(self.machine, made)

    def counter(self, name: str) -> int:
        return vmstat(self.kernel, name)

    def close(self) -> None:
        pass
