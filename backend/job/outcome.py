"""Progress and result of a migration: what moved, and the reason of everything that did not."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from backend.errors import NotFound, NumatuiError
from backend.nodeset import NodeSet
from backend.plan.plan import Plan
from backend.plan.reasons import THERE, Reason, sum_by_reason
from backend.process.process import Process

Used = Literal["move_pages", "migrate_pages", "move_pages+migrate_pages"]


@dataclass(slots=True)
class Progress:
    """Progress of a job, in bytes and in nanoseconds of the kernel's clock. `left`: bytes by reason, so far.
    `last_call`: of the call that ended last. `workers`: threads that make calls at the moment. Threads write under
    `lock`."""

    total: int
    done: int = 0
    moved: int = 0
    elapsed: int = 0
    worst_call: int = 0
    last_call: int = 0
    workers: int = 1
    left: dict[Reason, int] = field(default_factory=dict[Reason, int])
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def record_unmoved(self, reason: Reason, amount: int) -> None:
        """Adds bytes that do not move for this reason."""
        if amount > 0:
            with self.lock:
                self.left[reason] = self.left.get(reason, 0) + amount

    @property
    def explained(self) -> int:
        """Bytes that have a reason."""
        return sum(self.left.values())


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """What became of one process. `moved`, `left`: bytes. `before`, `after`: bytes by node, both read from the kernel
    independently of the answers of its calls; `after` is empty if the process has ended. `appeared`: bytes that the
    process allocated on source nodes meanwhile. `swapped`: bytes in swap, which no call moves. `workers`: the most
    threads that made calls at a time. `confined`: it was not asked for, but shares a cpuset that was narrowed."""

    process: Process
    method: Used
    before: dict[int, int]
    after: dict[int, int]
    moved: int
    left: dict[Reason, int]
    elapsed: int
    worst_call: int
    cancelled: bool = False
    error: str = ""
    appeared: int = 0
    swapped: int = 0
    workers: int = 1
    confined: bool = False

    @property
    def complete(self) -> bool:
        return not self.left and not self.cancelled and not self.error


@dataclass(frozen=True, slots=True)
class Failure:
    """A process of a job for which nothing could begin."""

    process: Process
    error: NumatuiError


@dataclass(frozen=True, slots=True)
class CpusetOutcome:
    """A cpuset that the job changed: its mems before and now, as read afterwards."""

    path: str
    before: NodeSet
    now: NodeSet


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a job. `job`: its name in the journal. `elapsed`: nanoseconds without pauses. `error`: what kept it
    from ending as planned, beside what the parts tell."""

    job: str
    parts: tuple[PartOutcome, ...]
    failures: tuple[Failure, ...] = ()
    cpusets: tuple[CpusetOutcome, ...] = ()
    elapsed: int = 0
    cancelled: bool = False
    error: str = ""

    @property
    def moved(self) -> int:
        return sum(one.moved for one in self.parts)

    @property
    def left(self) -> dict[Reason, int]:
        """Bytes by reason, of all parts."""
        return sum_by_reason(one.left for one in self.parts)

    @property
    def worst_call(self) -> int:
        return max((one.worst_call for one in self.parts), default=0)

    @property
    def complete(self) -> bool:
        """Everything moved."""
        done = all(one.complete for one in self.parts)
        return done and not (self.failures or self.cancelled or self.error)

    @property
    def errors(self) -> tuple[str, ...]:
        """Everything that went wrong, one line each."""
        parts = (one.error for one in self.parts if one.error)
        return (*([self.error] if self.error else []), *parts, *(str(one.error) for one in self.failures))


def exit_code(plan: Plan, outcome: Outcome) -> int:
    """0: done, or only what the plan announced stayed. 6: moved in part. 7: refused, nothing moved. 130: cancelled.
    Else that of the error because of which nothing could begin (docs/commands.md)."""
    if outcome.cancelled:
        return 130
    if outcome.failures and not outcome.parts:
        return max(one.error.exit_code for one in outcome.failures)
    if outcome.parts and all(not _ENDED.isdisjoint(one.left) for one in outcome.parts):
        return NotFound.exit_code
    unannounced = any(amount > plan.stays.get(reason, 0) for reason, amount in outcome.left.items() if reason in THERE)
    if unannounced or outcome.errors:
        return MOVED_IN_PART if outcome.moved else REFUSED
    return 0


_ENDED: frozenset[Reason] = frozenset({"process-ended", "new-program"})
MOVED_IN_PART, REFUSED = 6, 7
