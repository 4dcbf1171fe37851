"""Heat: how much of each mapping was accessed in a while, and on which nodes that lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from backend.placement.placement import sum_by_node, weighted_local_share

Way = Literal["damon", "referenced"]
"""How heat was learnt. `damon`: by the kernel's monitor, stretch by stretch of addresses. `referenced`: accessed bits
of page tables, cleared and looked at again, mapping by mapping."""
WAYS: tuple[Way, ...] = ("damon", "referenced")

HIGHEST = 200
"""Accesses of a page in a second that are seen at most: DAMON takes so many samples."""
HOLD_NS = 100_000_000
"""Nanoseconds for which the lock of a memory map may be held, unless somebody allows more."""


@dataclass(frozen=True, slots=True)
class HeatRange:
    """A mapping or a part of one, [start, end). Bytes: `resident`, and `hot` of them, which were accessed in a window
    on average; `least` and `most` in one of several windows. `by_node`: node → resident bytes, empty where it is not
    known. `rate`: accesses of a page that were seen in a second, on average, and `age`: seconds for which it has been
    about so; None where that is not told. `mapping`: where its mapping begins. `seen`: it was looked at; nothing
    is known of it otherwise."""

    start: int
    end: int
    name: str
    resident: int
    hot: int
    least: int
    most: int
    by_node: dict[int, int]
    rate: float | None = None
    age: float | None = None
    mapping: int = 0
    seen: bool = True

    @property
    def share(self) -> float:
        """Of its resident memory, 0 to 1."""
        return min(1.0, self.hot / self.resident) if self.resident else 0.0

    @property
    def hot_by_node(self) -> dict[int, int]:
        """Node → hot bytes. Which of its pages are hot is not known: each node has the same share, which is exact where
        all or none of it is hot, or all of it is on one node."""
        return {node: round(amount * self.share) for node, amount in self.by_node.items()}

    @property
    def exact(self) -> bool:
        """Whether `hot_by_node` is no estimate."""
        return len(self.by_node) < 2 or self.hot == 0 or self.hot >= self.resident


class Sums:
    """What several ranges have together. Bytes."""

    __slots__ = ()
    ranges: tuple[HeatRange, ...]

    @property
    def resident(self) -> int:
        return sum(one.resident for one in self.ranges)

    @property
    def hot(self) -> int:
        return sum(one.hot for one in self.ranges)

    @property
    def by_node(self) -> dict[int, int]:
        return sum_by_node(one.by_node for one in self.ranges)

    @property
    def hot_by_node(self) -> dict[int, int]:
        return sum_by_node(one.hot_by_node for one in self.ranges)


@dataclass(frozen=True, slots=True)
class Heat(Sums):
    """Of one process. `seconds`: how long a window was; `windows`: how many; `cost`: seconds of work that it took.
    `why`: why it was not learnt in a better way, empty where it was."""

    pid: int
    way: Way
    seconds: float
    windows: int
    cost: float
    ranges: tuple[HeatRange, ...]
    why: str = ""

    @property
    def steady(self) -> float:
        """How much alike the windows were, 0 to 1: the smallest beside the largest. 1 with one window."""
        most = sum(one.most for one in self.ranges)
        return sum(one.least for one in self.ranges) / most if most else 1.0

    def hot_and_local(self, places: Mapping[int, float]) -> float | None:
        """Share of the hot memory on the nodes where it runs, each weighted by its share of the running time; None if
        nothing is hot, or it is not known where."""
        return weighted_local_share(self.hot_by_node, places) if self.hot and places else None
