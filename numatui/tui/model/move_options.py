"""MoveOptions a migration is done, as it is chosen on the screen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from backend.job.options import Options
from backend.job.rate_limit import RateLimit
from backend.kernel import Kernel
from backend.plan.plan import METHODS, Method
from numatui.format import duration, size

T = TypeVar("T")

BUDGETS = (5_000_000, 20_000_000, 100_000_000, 500_000_000)
WORKERS = (None, 1, 2, 4, 8)
RATES = (0, 64 << 20, 256 << 20, 1 << 30, 4 << 30)


@dataclass(frozen=True, slots=True)
class MoveOptions:
    """As `backend.job.options.Options` has it: `budget` in nanoseconds, `workers` None for as many as bring something,
    `max_rate` in bytes a second, 0 for no limit."""

    method: Method = "auto"
    move_all: bool = False
    budget: int = 100_000_000
    workers: int | None = None
    max_rate: int = 0

    def options(self, kernel: Kernel, journal_dir: Path | None) -> Options:
        return Options(
            method=self.method,
            budget=self.budget,
            workers=self.workers,
            limit=RateLimit(kernel, self.max_rate),
            move_all=self.move_all,
            journal_dir=journal_dir,
        )

    def other(self, what: str) -> MoveOptions:
        """With the next choice of `method`, `move_all`, `budget`, `workers` or `max_rate`."""
        if what == "method":
            return replace(self, method=_next(METHODS, self.method))
        if what == "move_all":
            return replace(self, move_all=not self.move_all)
        if what == "budget":
            return replace(self, budget=_next(BUDGETS, self.budget))
        if what == "workers":
            return replace(self, workers=_next(WORKERS, self.workers))
        return replace(self, max_rate=_next(RATES, self.max_rate))

    @property
    def labels(self) -> dict[str, str]:
        """What each is, for people."""
        return {
            "method": f"method {self.method}",
            "move_all": "shared move" if self.move_all else "shared stay",
            "budget": f"call {duration(self.budget / 1e9)}",
            "workers": f"workers {self.workers or 'auto'}",
            "max_rate": f"limit {size(self.max_rate)}/s" if self.max_rate else "no limit",
        }

    @property
    def flags(self) -> str:
        """As the command line has it, without what is so anyway."""
        usual = MoveOptions()
        words = [
            f"--method {self.method}" if self.method != usual.method else "",
            "--all" if self.move_all else "",
            f"--budget {self.budget // 1_000_000}ms" if self.budget != usual.budget else "",
            f"--workers {self.workers}" if self.workers is not None else "",
            f"--max-rate {size(self.max_rate).replace('.0', '')}" if self.max_rate else "",
        ]
        return " ".join(word for word in words if word)


def _next(choices: Sequence[T], now: T) -> T:
    return choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]
