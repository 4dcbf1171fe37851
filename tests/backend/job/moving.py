"""A process on an emulated machine whose pages are moved and taken back, for tests of the engine."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import Vma
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.job.undo import plan_undo
from backend.journal.past_job import JournaledChunk, PastJob, index_of, read_chunks
from backend.journal.past_jobs import find_job, list_jobs
from backend.placement import reader
from backend.plan.plan import Plan
from backend.process.process import read_process
from tests.backend.job.running import PLANNED, Told, plan_for, run_job
from tests.emulator.machines import machine, nodes_of, region
from tests.kernels.around import Around

PAGE = 4096
BOOT = "/proc/sys/kernel/random/boot_id"


class Linux(Around):
    """An emulated kernel that also tells which start of the machine and which program this is, as Linux does; program
    0: it does not tell."""

    def __init__(self, kernel: EmulatedKernel) -> None:
        super().__init__(kernel)
        self.boot, self.program = "first", 11
        self.answers = {"stat": self._stat}

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        return self.boot.encode() + b"\n" if path == BOOT else super().read(path, offset, size)

    def _stat(self, raw: bytes) -> bytes:
        head, _, tail = raw.rpartition(b")")
        fields = tail.split()
        if len(fields) < 26:
            return raw
        fields[23], fields[25] = b"%d" % (self.program or 1), b"%d" % self.program
        return head + b") " + b" ".join(fields) + b"\n"


@contextmanager
def everything_is_large() -> Iterator[None]:
    """No process is so small that all of its memory is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LARGE", 0)
        yield


class Mover:
    """One process: `layout` has the node of every page, mapping by mapping."""

    def __init__(self, folder: Path, *layout: Sequence[int], profile: str = "linux-6", pages: int = 2048) -> None:
        self.machine: Machine = machine(profile, pages=pages, swap_pages=1024)
        self.task: Task = spawn(self.machine, "oltp", cpu=0, uid=1000)
        self.vmas: list[Vma] = []
        for nodes in layout:
            vma = region(self.machine, self.task, {}, pages=len(nodes))
            for node in sorted({*nodes}):
                populate(self.machine, vma, np.nonzero(np.array(nodes) == node)[0], node)
            self.vmas.append(vma)
        self.kernel: Any = Linux(EmulatedKernel(self.machine))
        self.folder = folder / "jobs"

    def read_gently(self) -> None:
        """From now on memory is read page by page, as that of large processes on a real kernel."""
        self.kernel.traits = replace(self.kernel.inner.traits, reading_stalls=True)

    @property
    def pid(self) -> int:
        return self.task.pid

    @property
    def nodes(self) -> list[int]:
        """The node of every page, -1 for those that are not there."""
        return [node for vma in self.vmas for node in nodes_of(self.machine, vma)]

    def addresses(self, vma: int = 0) -> list[int]:
        one = self.vmas[vma]
        return [one.start + number * PAGE for number in range(one.pages)]

    def meddle(self, node: int, pages: Sequence[int], vma: int = 0) -> None:
        """Something else moves these pages."""
        all_of_them = self.addresses(vma)
        where = array("Q", [all_of_them[number] for number in pages])
        self.kernel.inner.move_pages(self.pid, where, array("i", [node]) * len(where), array("i", [0]) * len(where), 4)

    def pin(self, pages: Sequence[int], vma: int = 0) -> None:
        """These pages are held by somebody."""
        for pfn in self.vmas[vma].pfns(np.array(pages)).tolist():
            self.machine.locks.get_page(pfn)

    def release(self, pages: Sequence[int], vma: int = 0) -> None:
        """They are held no longer."""
        for pfn in self.vmas[vma].pfns(np.array(pages)).tolist():
            self.machine.locks.put_page(pfn)

    @property
    def states(self) -> list[str]:
        """How the jobs ended, the oldest first."""
        return [one.state for one in reversed(list_jobs(self.folder)[0])]

    def plan(self, sources: Sequence[int], targets: Sequence[int], **how: Any) -> Plan:
        return plan_for(self.kernel, read_process(self.kernel, self.pid), sources, targets, **how)

    def move(self, sources: Sequence[int], targets: Sequence[int], **options: Any) -> Told:
        how = {name: options.pop(name) for name in PLANNED if name in options}
        return self.carry_out(self.plan(sources, targets, **how), **options)

    def carry_out(self, plan: Plan, **options: Any) -> Told:
        return run_job(self.kernel, plan, self.folder, **options)

    def undo(self, job: str | None = None, max_rate: int = 0, **options: Any) -> Told:
        """A job, or the newest, taken back."""
        return self.carry_out(plan_undo(self.kernel, self.job(job), max_rate), **options)

    def job(self, name: str | None = None) -> PastJob:
        """A job's journal, or that of the newest that is no undo."""
        if name is not None:
            return find_job(self.folder, name)
        return next(one for one in list_jobs(self.folder)[0] if not one.undoes)


def chunks_of(job: PastJob) -> list[JournaledChunk]:
    """All chunks, part by part, the first first."""
    index = index_of(job)
    return [chunk for part in sorted(index) for chunk in [*read_chunks(job, index, part)][::-1]]


def check_journal(job: PastJob) -> None:
    """A job that ended has said of every chunk what became of each of its pages."""
    moved = 0
    for chunk in chunks_of(job):
        assert chunk.left is not None
        moved += int((~chunk.left).sum()) * chunk.page_size
    assert job.moved == moved
