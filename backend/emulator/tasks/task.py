"""Tasks and threads: CPU, memory, policy and credentials."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.emulator.mm.mempolicy import DEFAULT, Mempolicy
from backend.emulator.mm.mm import Mm
from backend.emulator.tasks.cgroup import Cpuset
from backend.emulator.tasks.credentials import ALL_CAPS, Cap
from backend.nodeset import CpuSet


@dataclass(frozen=True, slots=True)
class Use:
    """What a thread accesses: `pages` from the address `start`, by this share of its accesses."""

    start: int
    pages: int
    share: float


@dataclass(eq=False, slots=True)
class Thread:
    """One schedulable thread. `rate`: accesses per simulated second in its last period. `il_next`: position of its next
    page in an interleave set (il_next, later il_prev, of task_struct). `ticks`: CPU time in clock ticks of 10 ms.
    `uses`: what it accesses at present; `settled`: until when that is in the accessed bits."""

    tid: int
    name: bytes
    cpu: int
    running: bool = True
    rate: float = 0.0
    il_next: int = 0
    ticks: float = 0.0
    nice: int = 0
    uses: tuple[Use, ...] = ()
    settled: float = 0.0


@dataclass(eq=False, slots=True)
class Task:
    """A thread group. `mm`: None for kernel threads. `start_time`: clock ticks since boot; identifies the task together
    with the pid. `exited`: the reason, empty while it lives. `stopped`: by a signal; `pending`: the signal that ends it
    when it continues, 0 for none."""

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
    saved_uid: int | None = None
    own_caps: frozenset[Cap] | None = None
    cpuset: Cpuset | None = None
    stopped: bool = False
    pending: int = 0

    @property
    def suid(self) -> int:
        """The saved uid; by default the uid."""
        return self.uid if self.saved_uid is None else self.saved_uid

    @property
    def caps(self) -> frozenset[Cap]:
        """The capabilities; by default all for root and none for other users."""
        if self.own_caps is None:
            return frozenset() if self.uid else ALL_CAPS
        return self.own_caps

    @property
    def leader(self) -> Thread:
        return self.threads[0]

    @property
    def alive(self) -> bool:
        return not self.exited
