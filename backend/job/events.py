"""What a job tells while it runs. Commands and screens are views of these events; none of them does the accounting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.job.outcome import Failure, PartOutcome, Progress
from backend.nodeset import NodeSet
from backend.process.process import Process


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A process has its turn. `part`: its position in the plan. `total`: bytes that are where they should leave."""

    part: int
    process: Process
    total: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """A call has returned. `progress` goes on changing: copy what is kept. `elapsed`: nanoseconds of the whole job."""

    part: int
    progress: Progress
    elapsed: int


@dataclass(frozen=True, slots=True)
class FellBack:
    """migrate_pages moves what move_pages could not, as the plan had said."""

    part: int


@dataclass(frozen=True, slots=True)
class PartEnded:
    part: int
    outcome: PartOutcome


@dataclass(frozen=True, slots=True)
class PartFailed:
    part: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class CpusetChanged:
    """The mems of a cpuset were written: widened before pages move, narrowed or restored afterwards."""

    path: str
    mems: NodeSet


Event = PartBegan | Progressed | FellBack | PartEnded | PartFailed | CpusetChanged
OnEvent = Callable[[Event], None]
"""May be called from any thread, one call at a time."""
