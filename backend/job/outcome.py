"""Progress and result of a migration: what moved, and the reason of everything that did not."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from backend.process.process import Process

Reason = Literal[
    "shared", "busy", "no-room", "gone", "hidden", "unmovable", "returned", "unlocated",
    "process-ended", "new-program", "elsewhere", "cancelled", "stopped", "refused",
]  # fmt: skip
REASONS: dict[Reason, str] = {
    "shared": "mapped by other processes too (--all moves them)",
    "busy": "in use by I/O, a pipe or a device",
    "no-room": "no room on the target node",
    "gone": "no longer there when their turn came: unmapped, swapped out, or moved by something else",
    "hidden": "hidden from move_pages by NUMA balancing",
    "unmovable": "the kernel cannot move them",
    "returned": "on a source node again: something else moved them back",
    "unlocated": "their mapping changed while it was read",
    "process-ended": "the process ended meanwhile",
    "new-program": "the process started another program meanwhile: its memory is new",
    "elsewhere": "somewhere else by now: swapped out, unmapped, or moved on",
    "cancelled": "not reached before the job was cancelled",
    "stopped": "not reached before the job stopped",
    "refused": "the kernel refused",
}
Used = Literal["move_pages", "migrate_pages", "move_pages+migrate_pages"]


@dataclass(slots=True)
class Progress:
    """Progress of a job, in bytes and in nanoseconds of the kernel's clock. `left`: bytes by reason, so far. `workers`:
    threads that make calls at the moment. Threads write under `lock`."""

    total: int
    done: int = 0
    moved: int = 0
    elapsed: int = 0
    worst_call: int = 0
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
class Outcome:
    """Result of the job of one process. `moved`, `left`: bytes. `before`, `after`: bytes by node, both read from the
    kernel independently of the answers of its calls; `after` is empty if the process has ended. `appeared`: bytes that
    the process allocated on source nodes meanwhile. `swapped`: bytes in swap, which no call moves. `workers`: the most
    threads that made calls at a time."""

    job: str
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

    @property
    def complete(self) -> bool:
        return not self.left and not self.cancelled and not self.error
