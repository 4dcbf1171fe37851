"""Why pages stay where they are: what a plan announces, and what a job tells afterwards, by the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

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
THERE: frozenset[Reason] = frozenset(
    {"shared", "busy", "no-room", "hidden", "unmovable", "returned", "unlocated", "cancelled", "stopped", "refused"}
)
"""Pages that stayed for these are still where they were; the others are there no longer."""


def sum_by_reason(parts: Iterable[Mapping[Reason, int]]) -> dict[Reason, int]:
    """Adds up reason → amount."""
    out: dict[Reason, int] = {}
    for part in parts:
        for reason, amount in part.items():
            out[reason] = out.get(reason, 0) + amount
    return out
