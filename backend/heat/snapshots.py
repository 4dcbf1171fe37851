"""What DAMON saw several times, put together: stretches of addresses with how often they were accessed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.heat.heat import HIGHEST
from backend.heat.kdamond import AGGREGATION_US, Region

_ALIKE = 0.1
"""Neighbours whose rates differ by less, of the highest that can be seen, are one."""
_ALWAYS = 0.25
"""Seconds: looks that follow each other as fast have seen what there was. The age of a region that has just been cut
out of another one says little."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """[start, end). `hot`: in which windows it was accessed. `rate`: accesses a second that were seen of a page, on
    average; at most one a sample. `age`: seconds for which it has been about so."""

    start: int
    end: int
    hot: tuple[bool, ...]
    rate: float
    age: float


def combine(windows: Sequence[Sequence[Sequence[Region]]], gap: float = 0.0, largest: int = 1 << 62) -> list[Stretch]:
    """`windows`: for each what was seen in it, one list or more, each in address order. What no list has is left out.
    In address order, without overlaps. `gap`: seconds between two lists; what has been as it is for less may have been
    used meanwhile, and counts as used. `largest`: bytes up to which neighbours that are alike become one."""
    lists = [regions for window in windows for regions in window if regions]
    if not lists:
        return []
    edges = np.unique(np.concatenate([_column(regions, name) for regions in lists for name in ("start", "end")]))
    count = len(edges) - 1
    if count < 1:
        return []
    seen = np.zeros(count, np.int64)
    accesses = np.zeros(count)
    hot = np.zeros((len(windows), count), np.bool_)
    age = np.zeros(count)
    for number, window in enumerate(windows):
        for regions in window:
            if not regions:
                continue
            at, there = _places(regions, edges)
            found = np.array([one.accesses for one in regions], np.float64)[at]
            seen += there
            accesses += np.where(there, found, 0)
            since = np.array([one.age for one in regions], np.float64)[at]
            changed = since * AGGREGATION_US / 1e6 < gap if gap > _ALWAYS else np.zeros(count, np.bool_)
            hot[number] |= there & ((found > 0) | changed)
            age = np.where(there, since, age)
    rate = accesses / np.maximum(seen, 1) * 1e6 / AGGREGATION_US
    out: list[Stretch] = []
    for index in np.nonzero(seen)[0].tolist():
        one = Stretch(
            int(edges[index]), int(edges[index + 1]), tuple(hot[:, index].tolist()), float(rate[index]),
            float(age[index]) * AGGREGATION_US / 1e6,
        )  # fmt: skip
        if out and out[-1].end == one.start and one.end - out[-1].start <= largest and _alike(out[-1], one):
            one = _joined(out.pop(), one)
        out.append(one)
    return out


def _alike(one: Stretch, other: Stretch) -> bool:
    return one.hot == other.hot and as_often(one.rate, other.rate)


def as_often(rate: float, other: float) -> bool:
    """Whether two rates are about the same."""
    return abs(rate - other) <= _ALIKE * HIGHEST


def _joined(one: Stretch, other: Stretch) -> Stretch:
    size, more = one.end - one.start, other.end - other.start
    rate = (one.rate * size + other.rate * more) / (size + more)
    return Stretch(one.start, other.end, one.hot, rate, min(one.age, other.age))


def _column(regions: Sequence[Region], name: str) -> NDArray[np.uint64]:
    return np.array([getattr(one, name) for one in regions], np.uint64)


def _places(regions: Sequence[Region], edges: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Of each piece between two edges: the region that it is in, and whether there is one."""
    starts, ends = _column(regions, "start"), _column(regions, "end")
    at = np.searchsorted(starts, edges[:-1], side="right") - 1
    there = (at >= 0) & (edges[:-1] < ends[np.maximum(at, 0)])
    return np.maximum(at, 0), there
