"""Memory placement of each process over time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.placement.survey import ProcessRow
from backend.process.process import Identity

MOST = 240
"""Changes kept per process. At the limit, every second change of the older half is dropped."""
LEAST = 0.01
"""Smallest share of its memory that must move for a change to be kept; less would not show in the lines."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`at`: nanoseconds of the kernel's clock; `by_node`: bytes."""

    at: int
    by_node: Mapping[int, int]


class PlacementHistory:
    """Changes of placement, by process. One thread writes; what `add` returns is never changed later."""

    def __init__(self) -> None:
        self._moments: dict[Identity, tuple[Moment, ...]] = {}

    def add(self, now: int, rows: Iterable[ProcessRow]) -> Mapping[Identity, tuple[Moment, ...]]:
        """Adds a reading. Returns the histories of its processes and forgets all others."""
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
    """Whether more than the share `LEAST` has moved."""
    if before is after or before == after:
        return False
    changed = sum(abs(before.get(node, 0) - after.get(node, 0)) for node in {*before, *after})
    return changed > LEAST * max(1, sum(before.values()), sum(after.values()))


def _thinned(moments: tuple[Moment, ...]) -> tuple[Moment, ...]:
    half = MOST // 2
    return moments if len(moments) < MOST else (*moments[:half:2], *moments[half:])


def sampled(moments: Sequence[Moment], now: int, width: int) -> list[Mapping[int, int]]:
    """The placement at `width` evenly spaced times, from the first moment until now."""
    if not moments or width <= 0:
        return []
    first, out, at = moments[0].at, [], 0
    for cell in range(width):
        time = first + (now - first) * (cell + 1) // width
        while at + 1 < len(moments) and moments[at + 1].at <= time:
            at += 1
        out.append(moments[at].by_node)
    return out
