"""How wide the columns of a reading have to be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.placement.survey import ProcessRow


@dataclass(frozen=True, slots=True)
class Extent:
    """How wide the columns have to be. `pid`, `user`: cells; `cpu`: the highest number; `sampled`: whether there are
    estimates."""

    pid: int
    user: int
    cpu: int
    sampled: bool


def extent_of(rows: Sequence[ProcessRow]) -> Extent:
    return Extent(
        len(str(max((row.process.pid for row in rows), default=0))),
        max((len(user) for user in {row.process.user for row in rows}), default=0),
        max((row.process.cpu for row in rows), default=0),
        any(row.sampled for row in rows),
    )
