"""Where the memory of each process lay, over time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.placement.survey import ProcessRow
from backend.process.process import Identity

MOST = 240
"""Changes that are kept of a process; of more, every other one of the older half goes."""
LEAST = 0.01
"""Part of its memory that has to have changed for a change to be kept."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`at`: nanoseconds of the kernel's clock; `by_node`: bytes."""

    at: int
    by_node: Mapping[int, int]


class PlacementHistory:
    """What changed, by process. Written by one thread; what it hands out is not changed any more."""

    def __init__(self) -> None:
        self._moments: dict[Identity, tuple[Moment, ...]] = {}

    def add(self, now: int, rows: Iterable[ProcessRow]) -> Mapping[Identity, tuple[Moment, ...]]:
        """The histories of those that are in this reading, the others are forgotten."""
        out: dict[Identity, tuple[Moment, ...]] = {}
        for row in rows:
            identity = row.process.identity
            known = self._moments.get(identity, ())
            if row.by_node is not None and (not known or differ(known[-1].by_node, row.by_node)):
                known = (*_thinned(known), Moment(now, row.by_node))
            if known:
                out[identity] = known
        self._moments = out
        return out


def differ(before: Mapping[int, int], after: Mapping[int, int]) -> bool:
    """Whether more than a hundredth lies elsewhere."""
    if before is after or before == after:
        return False
    changed = sum(abs(before.get(node, 0) - after.get(node, 0)) for node in {*before, *after})
    return changed > LEAST * max(1, sum(before.values()), sum(after.values()))


def _thinned(moments: tuple[Moment, ...]) -> tuple[Moment, ...]:
    half = MOST // 2
    return moments if len(moments) < MOST else (*moments[:half:2], *moments[half:])


def sampled(moments: Sequence[Moment], now: int, width: int) -> list[Mapping[int, int]]:
    """How it was at `width` times, evenly from the first moment until now."""
    if not moments or width <= 0:
        return []
    first, out, at = moments[0].at, [], 0
    for cell in range(width):
        time = first + (now - first) * (cell + 1) // width
        while at + 1 < len(moments) and moments[at + 1].at <= time:
            at += 1
        out.append(moments[at].by_node)
    return out
