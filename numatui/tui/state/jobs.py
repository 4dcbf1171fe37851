"""Jobs of this session as the screen shows them: views of the events that the engine tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from textual.message import Message

from backend.files.program import program
from backend.job.events import Event, PartEnded, PartFailed, Progressed
from backend.job.options import Options
from backend.job.outcome import Outcome, PartOutcome, Progress
from backend.job.parts.pausable_cancel import PausableCancel
from backend.kernel import Kernel
from backend.plan.plan import Plan, ProcessPlan
from backend.plan.reasons import Reason, sum_by_reason
from numatui.format import size
from numatui.tui.model.job_course import JobCourse
from numatui.tui.reading.reader import problem_of
from numatui.tui.state.actions import Action

State = Literal["running", "paused", "done", "partly", "cancelled", "failed"]
_REPORT_EVERY = 0.1  # seconds; the screen needs no more than ten updates a second
_NOT_REACHED: tuple[Reason, ...] = ("cancelled", "stopped", "process-ended")


@dataclass
class ShownJob:
    """A job and what it has told so far. Its thread writes, the screen reads. `command`: shell command with the same
    effect. `undoes`: the job that it takes back, if that is one of this session. `action`: its line in the log."""

    kernel: Kernel
    plan: Plan
    options: Options
    what: str
    number: int = 1
    command: str = ""
    undoes: ShownJob | None = None
    undone_by: ShownJob | None = None
    action: Action | None = None
    outcomes: list[PartOutcome] = field(default_factory=list[PartOutcome])
    errors: list[str] = field(default_factory=list[str])
    progress: Progress | None = None
    outcome: Outcome | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self.cancel = PausableCancel(self.kernel.clock)
        self.course = JobCourse()
        self._elapsed = 0
        self._told = 0.0
        self._tell: Callable[[Message], object] = lambda _: None

    @property
    def parts(self) -> tuple[ProcessPlan, ...]:
        return self.plan.processes

    @property
    def takes_back(self) -> bool:
        return bool(self.plan.undoes)

    @property
    def method(self) -> str:
        return " ".join(sorted({one.method for one in self.outcomes})) or self.plan.calls

    @property
    def journal(self) -> str:
        """Its name in the journal; empty until it has ended."""
        return self.outcome.job if self.outcome is not None else ""

    @property
    def total(self) -> int:
        return self.plan.bytes

    @property
    def done(self) -> int:
        """Bytes handled so far, moved or not."""
        if self.ended:
            return max(0, self.total - sum(self.left.get(reason, 0) for reason in _NOT_REACHED) - self._never_begun)
        finished = sum(one.moved + sum(one.left.values()) for one in self.outcomes)
        return min(self.total, finished + (self.progress.done if self.progress else 0))

    @property
    def _never_begun(self) -> int:
        begun = {one.process.identity for one in self.outcomes}
        return sum(one.bytes for one in self.parts if one.process.identity not in begun)

    @property
    def moved(self) -> int:
        return sum(one.moved for one in self.outcomes) + (self.progress.moved if self.progress else 0)

    @property
    def elapsed(self) -> float:
        """Seconds of the kernel's clock, without pauses."""
        return (self.outcome.elapsed if self.outcome is not None else self._elapsed) / 1e9

    @property
    def worst_call(self) -> float:
        """Seconds of the longest call."""
        calls = [one.worst_call for one in self.outcomes]
        return max([*calls, self.progress.worst_call if self.progress else 0]) / 1e9

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.moved / self.elapsed if self.elapsed else 0.0

    @property
    def left(self) -> dict[Reason, int]:
        """Bytes that did not move, by reason."""
        under_way = [self.progress.left] if self.progress else []
        return sum_by_reason([*(one.left for one in self.outcomes), *under_way])

    @property
    def state(self) -> State:
        if not self.ended:
            return "paused" if self.cancel.held else "running"
        if self.outcome is None:
            return "failed"
        return "cancelled" if self.outcome.cancelled else "done" if self.outcome.complete else "partly"

    @property
    def title(self) -> str:
        """`job 2: 4242, 4243 from 0-1 to 2-3`."""
        return f"job {self.number}: {self.what}"

    @property
    def can_be_undone(self) -> bool:
        again = self.undone_by is None or (self.undone_by.ended and self.undone_by.state != "done")
        changed = self.moved > 0 or (self.outcome is not None and bool(self.outcome.cpusets))
        return self.ended and not self.takes_back and again and changed

    @property
    def summary(self) -> str:
        """Result in one sentence, for a job that has ended."""
        word = "partly done" if self.state == "partly" else self.state
        left = sum(self.left.values())
        rest = f", {size(left)} left where it was" if left else ""
        reason = f": {self.errors[0]}" if self.errors else ""
        return f"{self.title}: {word}, {size(self.moved) if self.moved else 'nothing'} moved{rest}{reason}"

    def run(self, tell: Callable[[Message], object]) -> None:
        """Runs the job in the calling thread. `tell` gets `JobProgress` a few times a second, then `JobEnded`."""
        self._tell = tell
        from backend.job.job import Job  # its numpy would slow the start

        try:
            self.outcome = Job(self.kernel, self.plan, self.options).run(self._on_event, self.cancel)
            self.errors = list(self.outcome.errors)
        except Exception as exc:
            self.errors.append(problem_of(exc))
        finally:
            self.progress = None
            self.ended = True
            tell(JobEnded(self))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self._elapsed = event.elapsed
            self.progress = replace(event.progress, left=dict(event.progress.left))
            self.course.add(event.elapsed, self.moved, event.progress.last_call, event.progress.workers)
            if time.monotonic() - self._told > _REPORT_EVERY:
                self._told = time.monotonic()
                self._tell(JobProgress(self))
        elif isinstance(event, PartEnded):
            self.progress = None
            self.outcomes.append(event.outcome)
        elif isinstance(event, PartFailed):
            self.errors.append(str(event.failure.error))


def migration(kernel: Kernel, plan: Plan, options: Options, number: int, command: str) -> ShownJob:
    """The job that carries out a plan."""
    what = f"{_pids(plan)} from {plan.sources} to {plan.targets}"
    return ShownJob(kernel, plan, options, what, number, command)


def undoing(kernel: Kernel, plan: Plan, options: Options, number: int, job: ShownJob | None) -> ShownJob:
    """The job that takes another one back. `job`: that other one, if it is of this session."""
    which = f"job {job.number}" if job is not None else f"job {plan.undoes} of an earlier session"
    command = f"{program(kernel)} undo {plan.undoes}" if kernel.traits.keeps_jobs else ""
    undo = ShownJob(kernel, plan, options, f"{_pids(plan)}, taking back {which}", number, command, undoes=job)
    if job is not None:
        job.undone_by = undo
    return undo


def undo_command(job: ShownJob) -> str:
    """The shell command that undoes a job."""
    return f"{program(job.kernel)} undo {job.journal}"


def _pids(plan: Plan) -> str:
    pids = [str(one.process.pid) for one in plan.asked]
    return ", ".join(pids[:3]) + (f" and {len(pids) - 3} more" if len(pids) > 3 else "")


@dataclass
class JobProgress(Message):
    """A job has made progress."""

    job: ShownJob


@dataclass
class JobEnded(Message):
    """A job has ended, with success or without."""

    job: ShownJob
