"""Migrations that run beside the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from textual.message import Message

from backend.kernel import Kernel
from backend.migrate import migrate_process
from backend.options import Options
from backend.outcome import Outcome, Progress, Reason
from backend.plan import Plan
from numatui.format import size
from numatui.tui.reading import problem_of

State = Literal["running", "done", "partly", "cancelled", "failed"]
_REPORT_EVERY = 0.1
_NOT_REACHED: tuple[Reason, ...] = ("cancelled", "stopped", "process-ended")


@dataclass
class Job:
    """One plan being carried out, process after process. Written by its thread, read by the screen."""

    kernel: Kernel
    plan: Plan
    options: Options
    number: int = 1
    cancel: threading.Event = field(default_factory=threading.Event)
    outcomes: list[Outcome] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    progress: Progress | None = None
    at: int = 0
    ended: bool = False

    @property
    def total(self) -> int:
        return self.plan.bytes

    @property
    def done(self) -> int:
        """Bytes that were dealt with, moved or not."""
        if self.ended:
            return self.total - sum(self.left.get(reason, 0) for reason in _NOT_REACHED) - self._never_begun
        finished = sum(one.bytes for one in self.plan.processes[: self.at])
        return min(self.total, finished + (self.progress.done if self.progress else 0))

    @property
    def _never_begun(self) -> int:
        begun = {one.process.identity for one in self.outcomes}
        return sum(one.bytes for one in self.plan.processes if one.process.identity not in begun)

    @property
    def moved(self) -> int:
        return sum(one.moved for one in self.outcomes) + (self.progress.moved if self.progress else 0)

    @property
    def elapsed(self) -> float:
        """Seconds of the kernel's clock."""
        now = self.progress.elapsed if self.progress else 0
        return (sum(one.elapsed for one in self.outcomes) + now) / 1e9

    @property
    def worst_call(self) -> float:
        """Seconds that the longest call took."""
        calls = [one.worst_call for one in self.outcomes]
        return max([*calls, self.progress.worst_call if self.progress else 0]) / 1e9

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.moved / self.elapsed if self.elapsed else 0.0

    @property
    def left(self) -> dict[Reason, int]:
        """Bytes that did not move, by reason."""
        out: dict[Reason, int] = {}
        for part in [*(one.left for one in self.outcomes), dict(self.progress.left) if self.progress else {}]:
            for reason, amount in part.items():
                out[reason] = out.get(reason, 0) + amount
        return out

    @property
    def state(self) -> State:
        if not self.ended:
            return "running"
        if any(one.cancelled for one in self.outcomes) or (self.cancel.is_set() and self._never_begun):
            return "cancelled"
        if self.errors and not self.outcomes:
            return "failed"
        return "done" if not self.errors and all(one.complete for one in self.outcomes) else "partly"

    @property
    def title(self) -> str:
        """`job 2: 4242, 4243  0→2 1→3`."""
        pids = [str(one.process.pid) for one in self.plan.processes]
        shown = ", ".join(pids[:3]) + (f" and {len(pids) - 3} more" if len(pids) > 3 else "")
        return f"job {self.number}: {shown} from {self.plan.sources} to {self.plan.targets}"

    @property
    def summary(self) -> str:
        """One sentence for when it has ended."""
        words = {
            "done": "done",
            "partly": "partly done",
            "cancelled": "cancelled",
            "failed": "failed",
            "running": "running",
        }
        left = sum(self.left.values())
        rest = f", {size(left)} left where it was" if left else ""
        reason = f": {self.errors[0]}" if self.errors else ""
        return f"{self.title}: {words[self.state]}, {size(self.moved) if self.moved else 'nothing'} moved{rest}{reason}"

    def run(self, tell: Callable[[Message], object]) -> None:
        """Carry it out, in the thread that calls. `tell` gets `JobProgress` a few times a second, then `JobEnded`."""
        told = 0.0

        def show(progress: Progress) -> None:
            nonlocal told
            self.progress = replace(progress, left=dict(progress.left))
            if time.monotonic() - told > _REPORT_EVERY:
                told = time.monotonic()
                tell(JobProgress(self))

        try:
            for index, one in enumerate(self.plan.processes):
                self.at = index
                if self.cancel.is_set():
                    break
                try:
                    outcome = migrate_process(
                        self.kernel, self.plan, one.process, self.options, show, self.cancel
                    )
                    self.progress = None
                    self.outcomes.append(outcome)
                except Exception as exc:
                    self.progress = None
                    self.errors.append(problem_of(exc))
        finally:
            self.ended = True
            tell(JobEnded(self))


@dataclass
class JobProgress(Message):
    """A job has come further."""

    job: Job


@dataclass
class JobEnded(Message):
    """A job has ended, however."""

    job: Job
