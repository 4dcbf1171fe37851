"""The steps of a scenario about cpusets: change one, attach a task, write a control file."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from backend.emulator.abi import cgroupfs
from backend.emulator.frames.page_lock import Events
from backend.emulator.tasks.cpuset import Cpuset
from backend.errors import os_error

if TYPE_CHECKING:
    from backend.emulator.abi.syscalls import Caller
    from backend.emulator.scenario.steps import Place


def _named(place: Place) -> Cpuset:
    found = place.machine.cpusets.named(place.arguments["cpuset"])
    if found is None:
        raise os_error(errno.ENOENT)
    return found


def change(place: Place) -> Events:
    """Write what is given of memory_migrate, cpus and mems, in this order."""
    cs, cpusets, arguments = _named(place), place.machine.cpusets, place.arguments
    yield from place.machine.step("write", place.machine.costs.syscall)
    if "memory_migrate" in arguments:
        cs.memory_migrate = arguments["memory_migrate"]
    if "cpus" in arguments:
        yield from cpusets.set_cpus(cs, arguments["cpus"])
    if "mems" in arguments:
        yield from cpusets.set_mems(cs, arguments["mems"])
    return 0


def attach(place: Place) -> Events:
    """Write the task's pid to the cgroup.procs of a cpuset."""
    yield from place.machine.step("write", place.machine.costs.syscall)
    yield from place.machine.cpusets.attach(_named(place), place.task)
    return 0


def write(place: Place, caller: Caller) -> Events:
    """One write(2) to a control file. Returns its length."""
    data: bytes = place.arguments["data"].encode("utf-8", "surrogateescape")
    yield from cgroupfs.write(place.machine, caller, place.arguments["path"], data)
    return len(data)
