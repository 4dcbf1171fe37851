"""Processes over several readings: where they run, since when, how busy they are, whether their memory follows.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.placement.survey import ProcessRow
from backend.process.process import HERTZ, Identity

MOST_KEPT = 16
"""Readings of a process that are kept; of more, the oldest and the newest."""
SAME_PLACE = 0.25
"""It runs elsewhere when more than this share of its time went to other nodes than before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a process: when (ns), its CPU time, where it ran (node → share), where its memory lay (bytes by
    node; None where that is not told, or estimated)."""

    at: int
    ticks: int
    places: Mapping[int, float]
    by_node: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One process. `row`: its last reading; `first`: when it was first seen (ns); `seen`: the readings since it has run
    where it runs now, oldest first; `hops`: how often it went to other nodes meanwhile; `steady`: whether `seen` are
    all at the very same places."""

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
        """Seconds for which it has been seen to run where it runs now."""
        return (self.seen[-1].at - self.seen[0].at) / 1e9

    @property
    def stay(self) -> float:
        """Seconds that it stays at a place, on average."""
        return self.watched / (self.hops + 1)

    @property
    def places(self) -> dict[int, float]:
        """Node → share of its time since then, together 1; empty where that is not known. A first reading tells where
        its threads are, not where they ran: it counts only while there is no other."""
        counted = [one for one in self.seen[1:] or self.seen if one.places]
        nodes = sorted({node for one in counted for node in one.places})
        return {node: sum(one.places.get(node, 0.0) for one in counted) / len(counted) for node in nodes}

    @property
    def cpus(self) -> float | None:
        """How many CPUs it kept busy since then; None where no time has passed."""
        if not self.settled:
            return None
        return max(0, self.seen[-1].ticks - self.seen[0].ticks) / HERTZ / self.settled

    def followed(self, near: Iterable[int]) -> int:
        """Bytes that came to these nodes since then, beside what is new; 0 where that cannot be told."""
        before, now = self.seen[0].by_node, self.seen[-1].by_node
        if before is None or now is None:
            return 0
        grown = max(0, sum(now.values()) - sum(before.values()))
        return max(0, sum(now.get(node, 0) - before.get(node, 0) for node in near) - grown)


class ObservationHistory:
    """What was seen of each process, by identity; those that have ended are forgotten."""

    def __init__(self) -> None:
        self.observations: Mapping[Identity, Observation] = {}

    def add(self, at: int, rows: Iterable[ProcessRow]) -> Mapping[Identity, Observation]:
        """One more reading, at `at` ns. What is returned does not change later."""
        known = self.observations
        self.observations = {row.process.identity: _continued(known.get(row.process.identity), row, at) for row in rows}
        return self.observations


def _continued(before: Observation | None, row: ProcessRow, at: int) -> Observation:
    now = Reading(at, row.process.ticks, row.places, None if row.sampled else row.by_node)
    if before is None:
        return Observation(row, at, (now,))
    steady = before.steady and before.seen[-1].places == now.places
    counted_only = len(before.seen) == 1 and not before.hops and row.process.threads > 1
    if not steady and not counted_only and apart(before.places, now.places) > SAME_PLACE:
        return Observation(row, before.first, (now,), before.hops + 1)
    seen = (*before.seen, now)
    if len(seen) > MOST_KEPT:
        seen = (seen[0], *seen[2:])
    return Observation(row, before.first, seen, before.hops, steady)


def apart(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The share of time that is spent elsewhere: 0 the same places, 1 others altogether."""
    return sum(abs(one.get(node, 0.0) - other.get(node, 0.0)) for node in {*one, *other}) / 2
