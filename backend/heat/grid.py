"""Where the hot memory of a process is, in cells: of a mapping from its beginning to its end, or of all resident memory
in address order. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from backend.heat.heat import HIGHEST, HeatRange, Sums
from backend.placement.overlap import overlapping


@dataclass(frozen=True, slots=True)
class MappingHeat(Sums):
    """One mapping with its ranges, in address order. Bytes."""

    start: int
    end: int
    name: str
    ranges: tuple[HeatRange, ...]

    @property
    def exact(self) -> bool:
        return all(one.exact for one in self.ranges)

    @property
    def rate(self) -> float | None:
        """Of what is hot, on average; None where it is not told."""
        hot = [one for one in self.ranges if one.hot and one.rate is not None]
        amount = sum(one.hot for one in hot)
        return sum((one.rate or 0.0) * one.hot for one in hot) / amount if amount else None


def by_mapping(ranges: Iterable[HeatRange]) -> list[MappingHeat]:
    """The mappings of ranges that are in address order. A mapping is as long as what was found of it."""
    out: list[MappingHeat] = []
    for start, some in groupby(ranges, key=lambda one: one.mapping):
        each = tuple(some)
        out.append(MappingHeat(start, each[-1].end, each[0].name, each))
    return out


def cells(ranges: Sequence[HeatRange], start: int, end: int, count: int) -> list[float | None]:
    """[start, end) in `count` cells of equal size: of each the share of its resident memory that is hot, 0 to 1; None
    where none is resident. A range is taken as the same all over."""
    resident, hot = [0.0] * count, [0.0] * count
    size = max(1, end - start)
    for one in ranges:
        low, high = max(one.start, start), min(one.end, end)
        if low >= high or not one.resident:
            continue
        first, last = (low - start) * count / size, (high - start) * count / size
        for cell in range(int(first), min(count, int(last) + 1)):
            part = (min(last, cell + 1) - max(first, cell)) / (last - first) * (high - low) / (one.end - one.start)
            if part > 0:
                resident[cell] += part * one.resident
                hot[cell] += part * one.hot
    return [hot[cell] / resident[cell] if resident[cell] > 0 else None for cell in range(count)]


class Axis:
    """All resident memory of a process in address order, in `count` cells of as much memory each; what is not resident
    takes no room."""

    def __init__(self, ranges: Sequence[HeatRange], count: int) -> None:
        self.ranges = [one for one in ranges if one.resident]
        self.count = count
        self.total = sum(one.resident for one in self.ranges)
        self._bounds = [(one.start, one.end) for one in self.ranges]
        self._at: dict[int, float] = {}
        before = 0
        for one in self.ranges:
            self._at[one.start] = before * count / max(1, self.total)
            before += one.resident

    def cells(self, ranges: Iterable[HeatRange]) -> list[float | None]:
        """How hot these ranges are, on this axis, 0 to 1 by `intensity`; None where they have nothing."""
        weights, heats = [0.0] * self.count, [0.0] * self.count
        for one in ranges:
            heat = intensity(one)
            for cell, weight in self._parts(one.start, one.end):
                weights[cell] += weight
                heats[cell] += weight * heat
        return [heats[cell] / weights[cell] if weights[cell] > 0 else None for cell in range(self.count)]

    def nodes(self) -> list[int | None]:
        """The node that has most of each cell."""
        amounts: list[dict[int, float]] = [{} for _ in range(self.count)]
        for one in self.ranges:
            for cell, weight in self._parts(one.start, one.end):
                for node, amount in one.by_node.items():
                    amounts[cell][node] = amounts[cell].get(node, 0.0) + weight * amount / one.resident
        return [max(one, key=lambda node: one[node]) if one else None for one in amounts]

    def begins(self) -> list[tuple[int, HeatRange]]:
        """The first cell of each mapping, with its first range."""
        return [
            (min(self.count - 1, int(self._at[one.start])), one)
            for before, one in zip([None, *self.ranges], self.ranges, strict=False)
            if before is None or before.mapping != one.mapping
        ]

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, float]]:
        """The cells of [start, end), each with how much of it: cells of this axis, 1 for a whole one."""
        for low, high in overlapping(self._bounds, start, end):
            first = self._at[low]
            width = self.ranges[bisect_left(self._bounds, (low, high))].resident * self.count / max(1, self.total)
            begin = first + width * (max(start, low) - low) / (high - low)
            stop = first + width * (min(end, high) - low) / (high - low)
            for cell in range(int(begin), min(self.count, int(stop) + 1)):
                part = min(stop, cell + 1) - max(begin, cell)
                if part > 0:
                    yield cell, part


def intensity(one: HeatRange) -> float:
    """How hot, 0 to 1: by how often it was seen to be accessed, on a logarithmic scale; where that is not known, by the
    share of it that was accessed."""
    if one.rate is None:
        return one.share
    return min(1.0, math.log1p(one.rate) / math.log1p(HIGHEST)) if one.hot else 0.0
