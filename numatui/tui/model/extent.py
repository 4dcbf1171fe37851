"""Column widths that a reading needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.placement.survey import ProcessRow


@dataclass(frozen=True, slots=True)
class Extent:
    """`pid`, `user`: width in cells. `cpu`: the highest CPU number. `sampled`: whether any row is an estimate.
    `cpusets`: whether any has another cpuset than the root's. `largest`: bytes of the process with most."""

    pid: int
    user: int
    cpu: int
    sampled: bool
    cpusets: bool
    largest: int


def extent_of(rows: Sequence[ProcessRow]) -> Extent:
    return Extent(
        len(str(max((row.process.pid for row in rows), default=0))),
        max((len(user) for user in {row.process.user for row in rows}), default=0),
        max((row.process.cpu for row in rows), default=0),
        any(row.sampled for row in rows),
        any(row.process.cpuset not in ("/", "") for row in rows),
        max((row.resident for row in rows), default=0),
    )
