"""What a recording tells over all its samples. Pure."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend.recording.manifest import Sample
    from backend.recording.timeline import Events

MOST = 256
"""Samples of a recording that are looked at: about one for each cell of a wide screen."""


@dataclass(frozen=True, slots=True)
class Point:
    """A sample that was looked at. `local`: share of all memory that is where its process runs, None if nobody tells.
    `migrated`: pages that the kernel has migrated since its start."""

    local: float | None
    migrated: int = 0


def order(samples: int, most: int = MOST) -> list[int]:
    """The samples to look at, the ends first, then always halfway between two: a coarse picture comes soon."""
    count = min(samples, most)
    if count < 2:
        return list(range(count))
    wanted = [index * (samples - 1) // (count - 1) for index in range(count)]
    out, step = [wanted[0], wanted[-1]], 1
    while step < count:
        step *= 2
    seen = set(out)
    while step > 1:
        step //= 2
        for number in wanted[::step]:
            if number not in seen:
                seen.add(number)
                out.append(number)
    return out


def happened(events: Events) -> str:
    """`2 began, 1 ended`, or nothing."""
    counts = ((events.began, "began"), (events.ended, "ended"))
    return ", ".join(f"{count} {what}" for count, what in counts if count)


class Course:
    """`samples`, `events`: of the recording. `points`: by sample, as far as they are known."""

    def __init__(self, samples: Sequence[Sample], events: Sequence[Events]) -> None:
        self.samples, self.events = samples, events
        self.points: dict[int, Point] = {}
        self._times = [sample.at for sample in samples]

    @property
    def span(self) -> int:
        """Nanoseconds from the first to the last sample."""
        return max(1, self._times[-1] - self._times[0])

    def cell_of(self, number: int, width: int) -> int:
        """The cell of a sample on a line of `width` cells, which is as long as the recording."""
        return (self._times[number] - self._times[0]) * max(0, width - 1) // self.span

    def sample_at(self, cell: int, width: int) -> int:
        """The sample that was current at a cell: of those in it, the last; else the last before."""
        if width < 2:
            return 0
        within = min(max(cell, 0), width - 1)
        end = self._times[0] + -(-(within + 1) * self.span // (width - 1)) - 1
        return max(0, min(bisect_right(self._times, end), len(self._times)) - 1)

    def local(self, width: int) -> list[float | None]:
        """The local share for each cell: of the last known sample up to it."""
        known = sorted(self.points)
        out: list[float | None] = []
        for cell in range(width):
            at = bisect_right(known, self.sample_at(cell, width))
            out.append(self.points[known[at - 1]].local if at else None)
        return out

    def moved(self, page_size: int) -> Mapping[int, int]:
        """Bytes that were migrated up to a known sample since the known one before. A counter that went back says
        nothing."""
        known = sorted(self.points)
        pages = {b: self.points[b].migrated - self.points[a].migrated for a, b in itertools.pairwise(known)}
        return {number: count * page_size for number, count in pages.items() if count > 0}
