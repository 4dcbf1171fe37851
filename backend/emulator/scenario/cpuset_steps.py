"""Cpuset steps: change a cpuset, attach a task, write a control file."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

from backend.emulator.abi import cgroupfs
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.scenario.memory_steps import caller
from backend.emulator.scenario.step import Action, StepContext
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.cpuset import Cpusets
from backend.errors import os_error
from backend.nodeset import CpuSet, NodeSet


def _named(m: Machine, name: str) -> Cpuset:
    """The first cpuset of this name. Raises OSError ENOENT."""
    found = Cpusets.of(m).named(name)
    if found is None:
        raise os_error(errno.ENOENT)
    return found


@dataclass(frozen=True, slots=True)
class ChangeCpuset(Action):
    """Write memory_migrate, cpus and mems in this order, as far as they are given."""

    of_task: ClassVar[bool] = False
    cpuset: str
    mems: NodeSet | None = None
    cpus: CpuSet | None = None
    memory_migrate: bool | None = None

    def run(self, at: StepContext) -> Events:
        m = at.machine
        cs, cpusets = _named(m, self.cpuset), Cpusets.of(m)
        yield from m.step("write", m.costs.syscall)
        if self.memory_migrate is not None:
            cs.memory_migrate = self.memory_migrate
        if self.cpus is not None:
            yield from cpusets.set_cpus(cs, self.cpus)
        if self.mems is not None:
            yield from cpusets.set_mems(cs, self.mems)
        return 0


@dataclass(frozen=True, slots=True)
class Attach(Action):
    """Write the task's pid to the cgroup.procs of a cpuset."""

    cpuset: str

    def run(self, at: StepContext) -> Events:
        m = at.machine
        yield from m.step("write", m.costs.syscall)
        yield from Cpusets.of(m).attach(_named(m, self.cpuset), at.task)
        return 0


@dataclass(frozen=True, slots=True)
class Echo(Action):
    """One write(2) to a control file by the caller `as_`. Returns its length in bytes."""

    of_task: ClassVar[bool] = False
    path: str
    data: str
    as_: int | str | None = None

    def run(self, at: StepContext) -> Events:
        data = self.data.encode("utf-8", "surrogateescape")
        yield from cgroupfs.write(at.machine, caller(at, self.as_), self.path, data)
        return len(data)
