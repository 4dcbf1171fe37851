"""Which memory is meant by hot and cold: stretches of addresses, those that count most first. Pure."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.heat.heat import HOLD_NS, Heat, HeatRange, Way
from backend.placement.overlap import overlapping

Which = Literal["hot", "cold"]
OFTEN = 0.5
"""Share of the windows in which hot memory was used; of a mapping as a whole, share of it."""


@dataclass(frozen=True, slots=True)
class HeatWish:
    """`which`: what is used, or what is not used at all. `rate`: what is used more often than that, accesses a second;
    0: no matter. `most`: bytes at most, those that count most first; 0: no limit. `seconds`, `windows`, `way`, `hold`:
    how it is learnt (`learn`)."""

    which: Which
    rate: float = 0.0
    most: int = 0
    seconds: float = 1.0
    windows: int = 3
    way: Way | None = None
    hold: int = HOLD_NS


@dataclass(frozen=True, slots=True)
class Chosen:
    """A stretch of a process."""

    pid: int
    start: int
    end: int


def choose(heats: Iterable[Heat], wish: HeatWish, nodes: Iterable[int]) -> list[Chosen]:
    """Of these processes, what fits the wish and has memory on `nodes`. The hottest first, or what has not been used
    for the longest."""
    ids = [*nodes]
    found = [(one, heat.pid) for heat in heats for one in heat.ranges if fits(one, wish)]
    found.sort(key=lambda each: (_first(each[0], wish.which), each[1], each[0].start))
    out: list[Chosen] = []
    for one, pid in found:
        if any(one.by_node.get(node) for node in ids):
            out.append(Chosen(pid, one.start, one.end))
    return out


def fits(one: HeatRange, wish: HeatWish) -> bool:
    if wish.which == "cold":
        return one.seen and one.hot == 0
    return one.share >= OFTEN and (not wish.rate or (one.rate or 0.0) > wish.rate)


def _first(one: HeatRange, which: Which) -> tuple[float, float]:
    if which == "cold":
        return -(one.age or 0.0), 0.0
    return -(one.rate or 0.0), -one.share


def whole_pages(
    chosen: Sequence[Chosen], mappings: Mapping[int, Sequence[tuple[int, int]]], huge: int, which: Which
) -> list[Chosen]:
    """The same with edges between huge pages, as these move as a whole: hot stretches grow to them, cold ones shrink;
    at the edges of a mapping they end with it. What two would have is the first one's. `mappings`: by pid, in address
    order."""
    taken: dict[tuple[int, int], list[tuple[int, int]]] = {}
    out: list[Chosen] = []
    for one in chosen:
        for low, high in overlapping(mappings.get(one.pid, ()), one.start, one.end):
            start, end = max(low, one.start), min(high, one.end)
            if which == "hot":
                start, end = max(low, start // huge * huge), min(high, -(-end // huge) * huge)
            else:
                start = start if start == low else -(-start // huge) * huge
                end = end if end == high else end // huge * huge
            others = taken.setdefault((one.pid, low), [])
            for first, last in _free(start, end, others):
                out.append(Chosen(one.pid, first, last))
                insort(others, (first, last))
    return out


def _free(start: int, end: int, taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of [start, end) nobody has. `taken`: in address order."""
    out: list[tuple[int, int]] = []
    for low, high in overlapping(taken, start, end) if start < end else ():
        if start < low:
            out.append((start, low))
        start = high
    return [*out, (start, end)] if start < end else out
