"""What the calls answered against what was read again: one function for every job, pure.

What is told adds up: moved + left = what was there. No page is told twice, and what is read again has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from backend.plan.reasons import THERE, Reason

Stopped = Literal["", "cancelled", "stopped", "no-room", "refused"]
"""Why pages were not reached: the user, an error, or the kernel, which gave up on a move. Empty: all were."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Bytes. `there`: what was to move, before the first call. `moved`, `left`: what the calls answered. `away`: how
    pages are called that left before their turn came."""

    there: int
    moved: int
    left: Mapping[Reason, int]
    stopped: Stopped = ""
    away: Reason = "gone"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Bytes. `appeared`: what was allocated meanwhile where pages should leave. `there`: what `moved` and `left` add up
    to: more than before if pages that appeared were met and moved as well."""

    there: int
    moved: int
    left: dict[Reason, int]
    appeared: int = 0


def reconcile(answers: Answers, rest: int, grown: int) -> Reconciled:
    """`rest`: bytes that are still, or again, where they should have left, as read afterwards. `grown`: how much more
    memory the process has than before, at least 0: as much of the rest may be new."""
    moved = answers.moved
    left: dict[Reason, int] = {reason: amount for reason, amount in answers.left.items() if amount > 0}
    staying = sum(amount for reason, amount in left.items() if reason in THERE)
    # More than there was and has come since: pages that had moved were met again, as something else took them back.
    twice = moved + sum(left.values()) - answers.there - grown
    moved -= max(0, min(twice, moved, staying))
    there = max(answers.there, moved + sum(left.values()))
    unreached = there - moved - sum(left.values())
    if staying > rest:
        # Of what was told to stay, some has gone since: what could be moved by something else goes first.
        for reason in _MOST_FLEETING:
            gone = min(left.get(reason, 0), staying - rest)
            if gone:
                left[reason] -= gone
                left[answers.away] = left.get(answers.away, 0) + gone
                staying -= gone
    more = rest - staying
    waiting = min(unreached, more)
    if waiting and answers.stopped:
        left[answers.stopped] = left.get(answers.stopped, 0) + waiting
        unreached -= waiting
        more -= waiting
    appeared = min(more, grown)
    more -= appeared
    returned = min(more, moved)
    moved -= returned
    more -= returned
    # Nobody gave up, and yet pages are there that no call spoke of.
    overlooked = min(more, unreached)
    unreached -= overlooked
    more -= overlooked
    # What had gone when its turn came is there again.
    away: list[Reason] = [reason for reason in left if reason not in THERE]
    for reason in away:
        again = min(more, left[reason])
        left[reason] -= again
        returned += again
        more -= again
    ends: list[tuple[Reason, int]] = [("returned", returned), ("busy", overlooked), (answers.away, unreached)]
    for reason, amount in ends:
        left[reason] = left.get(reason, 0) + amount
    return Reconciled(there, moved, {reason: amount for reason, amount in left.items() if amount}, appeared)


_MOST_FLEETING: tuple[Reason, ...] = (
    "hidden", "busy", "unlocated", "no-room", "refused", "shared", "unmovable", "returned", "stopped", "cancelled",
)  # fmt: skip
