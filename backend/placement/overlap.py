"""Which of many stretches of addresses have something of another one. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence


def overlapping(ordered: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Those [low, high) that have something of [start, end). `ordered`: by address, without overlaps."""
    for index in range(max(0, bisect_right(ordered, start, key=lambda one: one[0]) - 1), len(ordered)):
        low, high = ordered[index]
        if low >= end:
            return
        if max(low, start) < min(high, end):
            yield low, high
