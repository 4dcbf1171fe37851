"""How a job is carried out. What it does is in its plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.job.parts.rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class Options:
    """`budget`: longest time that one call should take, nanoseconds; batches adapt to it. `workers`: threads that make
    calls side by side; None: workers are added while throughput grows. `limit`: a limit shared by several jobs, instead
    of the plan's. `journal_dir`: where the journal is written; None: where those of this machine are."""

    budget: int = 100_000_000
    workers: int | None = None
    limit: RateLimit | None = None
    journal_dir: Path | None = None
