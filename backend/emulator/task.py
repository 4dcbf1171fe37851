"""Tasks: who runs where, with which memory and which rights."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.emulator.mempolicy import DEFAULT, Mempolicy
from backend.emulator.mm import Mm
from backend.nodeset import CpuSet


@dataclass(eq=False, slots=True)
class Thread:
    """One schedulable thread. `rate`: accesses per simulated second that it reached last."""

    tid: int
    name: bytes
    cpu: int
    running: bool = True
    rate: float = 0.0
    il_next: int = 0
    ticks: float = 0.0


@dataclass(eq=False, slots=True)
class Task:
    """A thread group. `mm` is None for kernel threads. `start_time`: clock ticks since boot, unique with the pid."""

    pid: int
    name: bytes
    command: bytes
    uid: int
    start_time: int
    mm: Mm | None
    threads: list[Thread]
    ppid: int = 1
    cpus_allowed: CpuSet = field(default_factory=CpuSet)
    policy: Mempolicy = DEFAULT
    exited: str = ""
    min_flt: int = 0

    @property
    def leader(self) -> Thread:
        return self.threads[0]

    @property
    def alive(self) -> bool:
        return not self.exited
