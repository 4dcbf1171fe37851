"""Where in its mappings the hot memory of a process is, in equal cells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from backend.heat.heat import HeatRange


@dataclass(frozen=True, slots=True)
class MappingHeat:
    """One mapping with its ranges, in address order. Bytes."""

    start: int
    end: int
    name: str
    ranges: tuple[HeatRange, ...]

    @property
    def resident(self) -> int:
        return sum(one.resident for one in self.ranges)

    @property
    def hot(self) -> int:
        return sum(one.hot for one in self.ranges)


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
