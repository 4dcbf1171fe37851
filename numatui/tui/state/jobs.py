"""Jobs that run in a thread: migrations and their undo."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from textual.message import Message

from backend.files.jobs_dir import jobs_dir
from backend.job.migrate import migrate_process
from backend.job.options import Options
from backend.job.outcome import Outcome, Progress, Reason
from backend.job.past_jobs import PastJob
from backend.job.pausable_cancel import PausableCancel
from backend.kernel import Kernel
from backend.plan.plan import Plan
from backend.process.process import Process
from numatui.format import size
from numatui.tui.reading.reader import problem_of
from numatui.tui.state.actions import Action

State = Literal["running", "paused", "done", "partly", "cancelled", "failed"]
Work = Callable[[int, Callable[[Progress], None], PausableCancel], Outcome]
_REPORT_EVERY = 0.1  # seconds; the screen needs no more than ten updates a second
_NOT_REACHED: tuple[Reason, ...] = ("cancelled", "stopped", "process-ended")


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a job for one process. `bytes`: to move. `before`: bytes by node at the time of the plan."""

    process: Process
    bytes: int
    before: Mapping[int, int]
    runs_on: int | None = None


@dataclass
class Job:
    """Runs its parts one after the other. Its thread writes, the screen reads. `work`: does a part, by index.
    `command`: shell command with the same effect. `takes_back`: whether it undoes another job. `action`: its line in
    the log."""

    kernel: Kernel
    parts: tuple[Part, ...]
    what: str
    method: str
    work: Work
    number: int = 1
    command: str = ""
    takes_back: bool = False
    undone_by: Job | None = None
    action: Action | None = None
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    errors: list[str] = field(default_factory=list[str])
    progress: Progress | None = None
    at: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.cancel = PausableCancel(self.kernel.clock)

    @property
    def total(self) -> int:
        return sum(one.bytes for one in self.parts)

    @property
    def done(self) -> int:
        """Bytes handled so far, moved or not."""
        if self.ended:
            return max(0, self.total - sum(self.left.get(reason, 0) for reason in _NOT_REACHED) - self._never_begun)
        finished = sum(one.bytes for one in self.parts[: self.at])
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
        now = self.progress.elapsed if self.progress else 0
        return max(0, sum(one.elapsed for one in self.outcomes) + now - self.cancel.held_for) / 1e9

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
        out: dict[Reason, int] = {}
        for part in [*(one.left for one in self.outcomes), dict(self.progress.left) if self.progress else {}]:
            for reason, amount in part.items():
                out[reason] = out.get(reason, 0) + amount
        return out

    @property
    def state(self) -> State:
        if not self.ended:
            return "paused" if self.cancel.held else "running"
        if any(one.cancelled for one in self.outcomes) or (self.cancel.is_set() and self._never_begun):
            return "cancelled"
        if self.errors and not self.outcomes:
            return "failed"
        return "done" if not self.errors and all(one.complete for one in self.outcomes) else "partly"

    @property
    def title(self) -> str:
        """`job 2: 4242, 4243 from 0-1 to 2-3`."""
        return f"job {self.number}: {self.what}"

    @property
    def can_be_undone(self) -> bool:
        again = self.undone_by is None or (self.undone_by.ended and self.undone_by.state != "done")
        return self.ended and not self.takes_back and again and self.moved > 0

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
        told = 0.0

        def show(progress: Progress) -> None:
            nonlocal told
            self.progress = replace(progress, left=dict(progress.left))
            if time.monotonic() - told > _REPORT_EVERY:
                told = time.monotonic()
                tell(JobProgress(self))

        try:
            for index in range(len(self.parts)):
                self.at = index
                if self.cancel.is_set():
                    break
                try:
                    outcome = self.work(index, show, self.cancel)
                    self.progress = None
                    self.outcomes.append(outcome)
                except Exception as exc:
                    self.progress = None
                    self.errors.append(problem_of(exc))
        finally:
            self.ended = True
            tell(JobEnded(self))


def migration(kernel: Kernel, plan: Plan, options: Options, number: int, command: str) -> Job:
    """The job that carries out a plan."""
    processes = [one.process for one in plan.processes]

    def work(index: int, show: Callable[[Progress], None], brake: PausableCancel) -> Outcome:
        return migrate_process(kernel, plan, processes[index], options, show, brake)

    parts = tuple(Part(one.process, one.bytes, one.before, one.runs_on) for one in plan.processes)
    what = f"{_pids(processes)} from {plan.sources} to {plan.targets}"
    return Job(kernel, parts, what, plan.method, work, number, command)


def undoing(job: Job, directory: Path | None, number: int) -> Job:
    """The job that undoes `job`, last process first. `directory`: folder of its journals, None for the default."""
    outcomes = [one for one in reversed(job.outcomes) if one.moved]
    options = Options(journal_dir=directory)

    def work(index: int, show: Callable[[Progress], None], brake: PausableCancel) -> Outcome:
        from backend.job.past_jobs import find_job
        from backend.job.undo import undo_job

        past = find_job(directory or jobs_dir(), outcomes[index].job)
        return undo_job(job.kernel, past, options, show, brake)

    parts = tuple(Part(one.process, one.moved, one.after) for one in outcomes)
    command = undo_command(job) if directory is None else ""
    what = f"{_pids([one.process for one in outcomes])}, taking back job {job.number}"
    undo = Job(job.kernel, parts, what, "move_pages", work, number, command, takes_back=True)
    job.undone_by = undo
    return undo


def undoing_past(kernel: Kernel, past: PastJob, process: Process, directory: Path | None, number: int) -> Job:
    """The job that undoes a job of another session. `process`: the process that it moved."""

    def work(_: int, show: Callable[[Progress], None], brake: PausableCancel) -> Outcome:
        from backend.job.undo import undo_job

        return undo_job(kernel, past, Options(journal_dir=directory), show, brake)

    parts = (Part(process, past.moved, {}),)
    what = f"{process.pid}, taking back {past.job}"
    job = Job(kernel, parts, what, "move_pages", work, number, f"numatui undo {past.job}", True)
    job.undone_by = job
    return job


def undo_command(job: Job) -> str:
    """Shell commands that undo a job."""
    return "; ".join(f"numatui undo {one.job}" for one in reversed(job.outcomes) if one.moved)


def _pids(processes: list[Process]) -> str:
    pids = [str(one.pid) for one in processes]
    return ", ".join(pids[:3]) + (f" and {len(pids) - 3} more" if len(pids) > 3 else "")


@dataclass
class JobProgress(Message):
    """A job has made progress."""

    job: Job


@dataclass
class JobEnded(Message):
    """A job has ended, with success or without."""

    job: Job
