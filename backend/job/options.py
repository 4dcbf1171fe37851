"""How a migration is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.job.rate_limit import RateLimit
from backend.plan.plan import Method


@dataclass(frozen=True, slots=True)
class Options:
    """`budget`: nanoseconds that one call should take at most; batches adapt to it. `workers`: threads that make calls
    side by side, None for as many as bring something. `max_rate`: bytes a second, 0 for no limit; `limit` instead: one
    that several jobs share. `move_all`: also pages that others map (MPOL_MF_MOVE_ALL). `cpusets`: (path, mems before)
    of the cpusets that are changed with it, for the journal."""

    method: Method = "auto"
    budget: int = 100_000_000
    workers: int | None = None
    max_rate: int = 0
    limit: RateLimit | None = None
    move_all: bool = False
    cpusets: tuple[tuple[str, str], ...] = ()
    journal_dir: Path | None = None
