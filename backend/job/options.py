"""Options of a migration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.job.rate_limit import RateLimit
from backend.plan.plan import Method


@dataclass(frozen=True, slots=True)
class Options:
    """`budget`: longest time that one call should take, nanoseconds; batches adapt to it. `workers`: threads that make
    calls side by side; None: workers are added while throughput grows. `max_rate`: bytes per second, 0 for no limit.
    `limit`: a limit shared by several jobs, instead of `max_rate`. `move_all`: also pages that other processes map
    (MPOL_MF_MOVE_ALL). `cpusets`: (path, mems before) of the cpusets changed together with the job, for the journal."""

    method: Method = "auto"
    budget: int = 100_000_000
    workers: int | None = None
    max_rate: int = 0
    limit: RateLimit | None = None
    move_all: bool = False
    cpusets: tuple[tuple[str, str], ...] = ()
    journal_dir: Path | None = None
