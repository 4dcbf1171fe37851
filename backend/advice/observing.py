"""Observes processes over several readings: where they run, since when, how busy they are, whether their memory
follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.placement.survey import ProcessRow
from backend.process.process import HERTZ, Identity

MOST_KEPT = 16
"""Readings kept of a process at its present place: the first and the newest."""
SAME_PLACE = 0.25
"""A process has changed its place when more than this share of its time went to other nodes than before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a process: time (ns), CPU time (ticks), node → share of time, bytes by node (None if unknown or
    estimated)."""

    at: int
    ticks: int
    places: Mapping[int, float]
    by_node: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One process. `row`: its last reading. `first`: when it was first seen, ns. `seen`: readings at its present place,
    oldest first. `hops`: how often it changed its place. `steady`: whether all of `seen` have identical places."""

    row: ProcessRow
    first: int
    seen: tuple[Reading, ...]
    hops: int = 0
    steady: bool = True

    @property
    def watched(self) -> float:
        """Seconds since it was first seen."""
        return (self.seen[-1].at - self.first) / 1e9

    @property
    def settled(self) -> float:
        """Seconds it has been seen at its present place."""
        return (self.seen[-1].at - self.seen[0].at) / 1e9

    @property
    def stay(self) -> float:
        """Mean seconds at one place."""
        return self.watched / (self.hops + 1)

    @property
    def places(self) -> dict[int, float]:
        """Node → share of its time at the present place, together 1; empty if unknown. The first reading shows where
        the threads are, not where they ran: it counts only while it is the only one."""
        counted = [one for one in self.seen[1:] or self.seen if one.places]
        nodes = sorted({node for one in counted for node in one.places})
        return {node: sum(one.places.get(node, 0.0) for one in counted) / len(counted) for node in nodes}

    @property
    def cpus(self) -> float | None:
        """CPUs kept busy at the present place; None if no time has passed."""
        if not self.settled:
            return None
        return max(0, self.seen[-1].ticks - self.seen[0].ticks) / HERTZ / self.settled

    def followed(self, near: Iterable[int]) -> int:
        """Bytes that came to these nodes meanwhile, without new allocations; 0 if unknown."""
        before, now = self.seen[0].by_node, self.seen[-1].by_node
        if before is None or now is None:
            return 0
        grown = max(0, sum(now.values()) - sum(before.values()))
        return max(0, sum(now.get(node, 0) - before.get(node, 0) for node in near) - grown)


class ObservationHistory:
    """Observations by process identity. Processes that have ended are forgotten."""

    def __init__(self) -> None:
        self.observations: Mapping[Identity, Observation] = {}

    def add(self, at: int, rows: Iterable[ProcessRow]) -> Mapping[Identity, Observation]:
        """Adds a reading taken at `at` ns. The returned mapping does not change later."""
        known = self.observations
        self.observations = {row.process.identity: _continued(known.get(row.process.identity), row, at) for row in rows}
        return self.observations


def _continued(before: Observation | None, row: ProcessRow, at: int) -> Observation:
    now = Reading(at, row.process.ticks, row.places, None if row.sampled else row.by_node)
    if before is None:
        return Observation(row, at, (now,))
    steady = before.steady and before.seen[-1].places == now.places
    # The first reading counts threads, not time: a difference from it need not be a hop.
    counted_only = len(before.seen) == 1 and not before.hops and row.process.threads > 1
    if not steady and not counted_only and apart(before.places, now.places) > SAME_PLACE:
        return Observation(row, before.first, (now,), before.hops + 1)
    seen = (*before.seen, now)
    if len(seen) > MOST_KEPT:
        seen = (seen[0], *seen[2:])
    return Observation(row, before.first, seen, before.hops, steady)


def apart(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Share of the time spent elsewhere: 0 for the same places, 1 for entirely different ones."""
    return sum(abs(one.get(node, 0.0) - other.get(node, 0.0)) for node in {*one, *other}) / 2
