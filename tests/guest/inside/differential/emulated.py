"""Sequences on an emulated machine of the guest's shape."""

from __future__ import annotations

import json

import numpy as np

from backend.emulator.abi.cgroupfs import directory
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.boot import boot
from backend.emulator.machine import Machine, MachineSpec, NodeSpec
from backend.emulator.mm.fault import touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mm import VM, Indices
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.mm.vma_split import split_at_ends
from backend.emulator.mm.zap import zap
from backend.emulator.profile import PROFILES, ProfileName
from backend.emulator.storage.file_io import create, mount
from backend.emulator.tasks.cpuset import Cpusets
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.nodeset import CpuSet, NodeSet
from tests.emulator.machines import DISTANCES
from tests.guest.inside.differential.play import Answer, Process, address_of, play
from tests.guest.inside.differential.sequence import Step

FRAMES = 16384


class EmulatedProcess(Process):
    """A task of the machine."""

    def __init__(self, m: Machine, task: Task) -> None:
        self.m, self.task = m, task
        self.pid = task.pid
        self.kernel = EmulatedKernel(m, Caller(0, True, task.pid))

    def map(self, region: int, kind: str, pages: int) -> Answer:
        m, shared = self.m, VM.WRITE | VM.SHARED
        at = address_of(region)
        if kind == "shared":
            space = create(m, m.shm, "/dev/zero", pages, unlinked=True)
            mmap(m, self.task, pages, kind="shared", file=space, flags=shared, at=at)
        elif kind in ("tmpfs", "private"):
            fs = m.filesystems.get("tmpfs") or mount(m, "tmpfs", m.profile.filesystem_types["tmpfs"])
            space = create(m, fs, f"/dev/shm/{region}", pages)
            mmap(m, self.task, pages, kind="file", file=space, flags=shared if kind == "tmpfs" else VM.WRITE, at=at)
        else:
            mmap(m, self.task, pages, flags=VM.WRITE | (VM.HUGEPAGE if kind == "thp" else VM(0)), at=at)
        return 0

    def touch(self, region: int, first: int, count: int, write: bool) -> Answer:
        index = np.arange(first, first + count, dtype=np.int64)
        self.m.run(touch(self.m, self.task, self.task.leader, address_of(region), index, write=write))
        return 0

    def forget(self, region: int, first: int, count: int) -> Answer:
        assert self.task.mm is not None
        for vma, local in self.task.mm.spans(address_of(region), self._pages(first, count)):
            zap(self.m, vma, local, self.task.leader.cpu)
        return 0

    def unmap(self, region: int, first: int, count: int) -> Answer:
        assert self.task.mm is not None
        for vma in split_at_ends(self.m, self.task.mm, address_of(region, first), address_of(region, first + count)):
            munmap(self.m, vma, self.task.leader.cpu)
        return 0

    def run_on(self, cpu: int) -> Answer:
        schedule(self.m, self.task, cpu)
        return 0

    @staticmethod
    def _pages(first: int, count: int) -> Indices:
        return np.arange(first, first + count, dtype=np.int64)


class EmulatedMachine:
    """Four nodes of 64 MiB."""

    def __init__(self, profile: ProfileName) -> None:
        nodes = [NodeSpec(node, FRAMES, CpuSet([node])) for node in range(4)]
        distances = {(a, b): DISTANCES[a][b] for a in range(4) for b in range(4)}
        self.m = boot(MachineSpec(PROFILES[profile], nodes, distances))
        self.kernel = EmulatedKernel(self.m)
        cpuset = Cpusets.of(self.m).create("sequences", mems=NodeSet(range(4)))
        self.cpuset = directory(self.m, cpuset)
        self.processes: dict[str, Process] = {"A": EmulatedProcess(self.m, spawn(self.m, "a", cpu=0, cpuset=cpuset))}

    def fork(self) -> None:
        parent = self.processes["A"]
        assert isinstance(parent, EmulatedProcess)
        self.processes["B"] = EmulatedProcess(self.m, self.m.run(fork(self.m, parent.task)))

    def end(self) -> None:
        child = self.processes.pop("B")
        assert isinstance(child, EmulatedProcess)
        do_exit(self.m, child.task)


def on_the_emulator(steps: list[Step], profile: ProfileName = "linux-6") -> list[Answer]:
    """Play a sequence, in the types that the other side's answers have after their way through JSON."""
    return json.loads(json.dumps(play(EmulatedMachine(profile), steps)))
