"""Options of a migration that the user chooses on the screen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from backend.job.options import Options
from backend.plan.plan import METHODS, Method
from numatui.format import duration, size

T = TypeVar("T")

# Choices that a key steps through; the command line takes any value.
BUDGETS = (5_000_000, 20_000_000, 100_000_000, 500_000_000)  # nanoseconds a call
WORKERS = (None, 1, 2, 4, 8)
RATES = (0, 64 << 20, 256 << 20, 1 << 30, 4 << 30)  # bytes a second, 0: no limit


@dataclass(frozen=True, slots=True)
class MoveOptions:
    """As in `backend.job.request.MoveRequest` and `backend.job.options.Options`. `budget`: nanoseconds. `workers`: None
    adds workers while throughput grows. `max_rate`: bytes a second, 0 for no limit."""

    method: Method = "auto"
    move_all: bool = False
    confine: bool = False
    budget: int = 100_000_000
    workers: int | None = None
    max_rate: int = 0

    def options(self, journal_dir: Path) -> Options:
        return Options(budget=self.budget, workers=self.workers, journal_dir=journal_dir)

    def other(self, what: str) -> MoveOptions:
        """A copy with the next choice for `what`, the name of a field."""
        if what == "method":
            return replace(self, method=_next(METHODS, self.method))
        if what == "move_all":
            return replace(self, move_all=not self.move_all)
        if what == "confine":
            return replace(self, confine=not self.confine)
        if what == "budget":
            return replace(self, budget=_next(BUDGETS, self.budget))
        if what == "workers":
            return replace(self, workers=_next(WORKERS, self.workers))
        return replace(self, max_rate=_next(RATES, self.max_rate))

    @property
    def labels(self) -> dict[str, str]:
        """The value of each option as text for the screen."""
        return {
            "method": "method auto" if self.method == "auto" else self.method,
            "move_all": "shared move" if self.move_all else "shared stay",
            "confine": "cpuset" if self.confine else "no cpuset",
            "budget": f"call {duration(self.budget / 1e9)}",
            "workers": f"workers {self.workers or 'auto'}",
            "max_rate": f"{size(self.max_rate)}/s" if self.max_rate else "no limit",
        }

    @property
    def flags(self) -> str:
        """Options of the command line; defaults are left out."""
        usual = MoveOptions()
        words = [
            f"--method {self.method}" if self.method != usual.method else "",
            "--all" if self.move_all else "",
            "--cpuset" if self.confine else "",
            f"--budget {self.budget // 1_000_000}ms" if self.budget != usual.budget else "",
            f"--workers {self.workers}" if self.workers is not None else "",
            f"--max-rate {size(self.max_rate).replace('.0', '')}" if self.max_rate else "",
        ]
        return " ".join(word for word in words if word)


def _next(choices: Sequence[T], now: T) -> T:
    return choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]
