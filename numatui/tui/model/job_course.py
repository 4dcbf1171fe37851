"""What a job did over time, in at most `MOST` slices however long it takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 128
"""Slices kept. When there are more, each two become one."""
FIRST = 10_000_000
"""Nanoseconds of a slice at first."""


@dataclass(slots=True)
class _Slice:
    """`moved`: bytes in it. `call`: nanoseconds of its longest call. `workers`: the most at a time."""

    moved: float = 0.0
    call: int = 0
    workers: int = 0


class JobCourse:
    """One thread adds, another reads: what is read is never longer than it should be, and at most a slice old."""

    def __init__(self) -> None:
        self.step = FIRST
        self._slices: list[_Slice] = []
        self._moved = 0

    def add(self, elapsed: int, moved: int, call: int, workers: int) -> None:
        """Adds what is known after a call. `elapsed`: nanoseconds of the job. `moved`: bytes of the job so far. `call`:
        nanoseconds of that call."""
        while elapsed // self.step >= MOST:
            self._halve()
        while len(self._slices) <= elapsed // self.step:
            self._slices.append(_Slice())
        # What a call moved, it moved all the time that it took.
        during = self._slices[max(0, elapsed - call) // self.step : elapsed // self.step + 1]
        for one in during:
            one.moved += max(0, moved - self._moved) / len(during)
            one.call, one.workers = max(one.call, call), max(one.workers, workers)
        self._moved = max(moved, self._moved)

    def _halve(self) -> None:
        pairs = [self._slices[at : at + 2] for at in range(0, len(self._slices), 2)]
        self._slices = [
            _Slice(
                sum(one.moved for one in pair), max(one.call for one in pair), max(one.workers for one in pair)
            ) for pair in pairs
        ]  # fmt: skip
        self.step *= 2

    @property
    def rates(self) -> list[float]:
        """Bytes a second, slice by slice."""
        return [one.moved / self.step * 1e9 for one in self._slices]

    @property
    def calls(self) -> list[float]:
        """Seconds of the longest call."""
        return [one.call / 1e9 for one in self._slices]

    @property
    def workers(self) -> list[float]:
        return [float(one.workers) for one in self._slices]
