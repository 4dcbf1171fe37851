"""Carries out a plan: the one place where pages move and cpusets change. Journaled ahead, cancellable, read again.

    plan → Job(kernel, plan, options).run(on_event, cancel) → Outcome

An undo is a job too: its plan comes from `backend.job.undo.plan_undo`."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.cgroup.cpuset_tree import read_cpusets
from backend.cpuset.change import write_mems
from backend.cpuset.confinement import members_below
from backend.errors import Interrupted, NotFound, NotPermitted, NumatuiError
from backend.files.program import program
from backend.files.text import printable
from backend.job.call import check_call
from backend.job.events import CpusetChanged, Event, OnEvent, PartEnded, PartFailed
from backend.job.options import Options
from backend.job.outcome import CpusetOutcome, Failure, Outcome, PartOutcome
from backend.job.parts.part_run import JobContext, Leftover, PartRun
from backend.job.parts.plan_part import PlanPart
from backend.job.parts.rate_limit import RateLimit
from backend.job.parts.undo_part import UndoPart
from backend.job.undo import check_undo
from backend.journal.journal import Journal
from backend.journal.past_job import Index, PastJob, index_of
from backend.journal.past_jobs import find_job, mark_undone, prune
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.plan.plan import Confinement, Plan, ProcessPlan
from backend.process.process import Identity, Program, still_the_same


def lock_folder(kernel: Kernel, jobs: Path) -> Path:
    """Where jobs on this kernel lock; `jobs`: the folder of their journals, which is private to a demo."""
    return (kernel.files.lock_folder() if kernel.traits.keeps_jobs else None) or jobs


def _ignore(_: Event) -> None:
    return


class Job:
    """`plan` is carried out as it stands: what it does not say is not done. Can run once."""

    def __init__(self, kernel: Kernel, plan: Plan, options: Options | None = None) -> None:
        self.kernel, self.plan = kernel, plan
        self.options = options or Options()
        self.files = kernel.files
        self.directory = self.options.journal_dir or self.files.jobs_dir()
        self._failures: list[Failure] = []
        self._parts: list[PartOutcome] = []
        self._error = ""
        self._cpusets: list[CpusetOutcome] = []

    def run(self, on_event: OnEvent = _ignore, cancel: threading.Event | None = None) -> Outcome:
        """Returns what happened, even if only part of it could be done. Raises NotFound, NotPermitted, NotSupported,
        Refused, Busy, NumatuiError (journal) before anything has happened."""
        check_call(self.kernel, self.plan)
        self.files.make_private(self.directory)
        self._past: PastJob | None = None
        self._index: Index = {}
        self._numbers: dict[Identity, int] = {}
        locks = self.files.lock_processes(
            lock_folder(self.kernel, self.directory), [one.process.pid for one in self.plan.processes]
        )
        try:
            if self.plan.undoes:
                self._past = find_job(self.directory, self.plan.undoes, self.files)
                check_undo(self.kernel, self._past)
                self._index = index_of(self._past)
                self._numbers = {one.identity: number for number, one in enumerate(self._past.parts)}
            parts = self._startable()
            journal = Journal(self.directory, self._head(parts), self.files)
            self._context = JobContext(
                self.kernel, self.plan, self.options, journal, on_event, cancel or threading.Event(),
                self.options.limit or RateLimit(self.kernel, self.plan.max_rate), self.kernel.clock(),
            )  # fmt: skip
            try:
                self._carry_out(parts)
                if self._failures and not (self._parts or self._cpusets or self._error):
                    journal.discard()
                    raise self._failures[0].error
                return self._end(journal)
            except BaseException as exc:
                if journal.discarded:
                    raise
                with suppress(NumatuiError, OSError):
                    why = str(exc) if isinstance(exc, NumatuiError) else ""
                    journal.end("failed", moved=sum(one.moved for one in self._parts), error=why)
                raise
        finally:
            locks.close()

    def _startable(self) -> list[tuple[ProcessPlan, Program]]:
        """The parts whose process is still that of the plan, with its program. Raises the first error if none is."""
        out: list[tuple[ProcessPlan, Program]] = []
        for one in self.plan.processes:
            try:
                out.append((one, still_the_same(self.kernel, one.process.identity).program))
            except NumatuiError as exc:
                self._failures.append(Failure(one.process, exc))
        if self.plan.processes and not out:
            raise self._failures[0].error
        return out

    def _head(self, parts: list[tuple[ProcessPlan, Program]]) -> dict[str, Any]:
        return {
            "boot": boot_id(self.kernel),
            "method": self.plan.calls,
            "parts": [
                {
                    "pid": one.process.pid,
                    "start_time": one.process.identity.start_time,
                    "program": list(program),
                    "command": one.process.command[:200].encode("ascii", "backslashreplace").decode(),
                    "moves": [[step.source, step.target] for step in one.steps],
                    **({"confined": True} if one.confined else {}),
                }
                for one, program in parts
            ],
            "cpusets": [
                {
                    "path": one.path, "mems": list(one.mems), "written": list(one.written), "wide": list(one.wide),
                    "final": list(one.final),
                }
                for one in self.plan.confinements
            ],
            **({"undoes": self.plan.undoes} if self.plan.undoes else {}),
        }  # fmt: skip

    def _carry_out(self, parts: list[tuple[ProcessPlan, Program]]) -> None:
        try:
            for one in self.plan.confinements:
                self._write(one, "widen")
        except NumatuiError as exc:
            self._error = f"{exc}; {self._left_wide('that failed')}"
            return
        kept: list[PartRun] = []
        try:
            for number, (planned, _) in enumerate(parts):
                if self._context.cancel.is_set():
                    break
                run = self._part(number, planned)
                if run is None:
                    continue
                kept.append(run)
                run.move()
                if not self.plan.confinements:
                    self._settle(kept.pop(), planned)
            if self.plan.confinements:
                self._confine(kept, [planned for planned, _ in parts])
        finally:
            for run in kept:
                run.close()

    def _part(self, number: int, planned: ProcessPlan) -> PartRun | None:
        """A process held, and what is to move counted. None if that fails: the others go on."""
        try:
            which = self._past_number(planned)
            if self._past is None or which is None:
                return PlanPart(self._context, number, planned)
            return UndoPart(self._context, number, planned, self._past, self._index, which)
        except NumatuiError as exc:
            failure = Failure(planned.process, exc)
            self._failures.append(failure)
            self._context.on_event(PartFailed(number, failure))
            return None

    def _past_number(self, planned: ProcessPlan) -> int | None:
        """Which part of the job that is taken back this process was."""
        return self._numbers.get(planned.process.identity)

    def _settle(self, run: PartRun, planned: ProcessPlan) -> None:
        outcome = run.outcome(planned.confined)
        run.close()
        self._parts.append(outcome)
        self._context.on_event(PartEnded(run.part, outcome))
        if isinstance(run, UndoPart) and run.remaining:
            self._all_back = False

    _all_back = True
    """Of an undo: nothing is left where the job had put it."""

    def _confine(self, kept: list[PartRun], planned: list[ProcessPlan]) -> None:
        """Narrow the cpusets, if everything before went well. The kernel moves what is still elsewhere: that is
        journaled ahead, and counted."""
        failed = any(not isinstance(one.error, NotFound) for one in self._failures)
        unfinished = self._context.cancel.is_set() or failed or any(run.error and not run.ended for run in kept)
        if not unfinished:
            try:
                for one in self.plan.confinements:
                    self._narrow(one, kept)
            except NumatuiError as exc:
                self._error = str(exc)
        else:
            self._error = self._left_wide("the job did not end")
        while kept:
            run = kept.pop(0)
            self._settle(run, planned[run.part])
        with suppress(NumatuiError):
            tree = read_cpusets(self.kernel)
            for one in self.plan.confinements:
                self._cpusets.append(CpusetOutcome(one.path, one.mems, tree.at(one.path).effective_mems))

    def _left_wide(self, why: str) -> str:
        names = ", ".join(printable(one.path, 80) for one in self.plan.confinements)
        numatui = program(self.kernel) if self.kernel.traits.keeps_jobs else "numatui"
        return (
            f"cpuset {names} may use the old nodes and the new ones now, as {why}: "
            f"{numatui} undo {self._context.journal.job} restores it"
        )

    def _narrow(self, one: Confinement, kept: list[PartRun]) -> None:
        tree = read_cpusets(self.kernel)
        inside = members_below(self.kernel, tree, one.path)
        known = {run.pid for run in kept}
        leftovers: list[tuple[PartRun, list[Leftover]]] = []
        for run in kept:
            if run.pid in inside:
                # Not suppressed: a journal that cannot be written. Then nothing more may move.
                with suppress(NotFound, NotPermitted):
                    leftovers.append((run, run.journal_leftovers(run.confining_steps(one))))
        self._write(one, "narrow")
        for run, journaled in leftovers:
            with suppress(NumatuiError):
                run.moved_by_kernel(journaled)
        if joined := sorted(inside - known):
            names = ", ".join(map(str, joined[:5])) + (f" and {len(joined) - 5} more" if len(joined) > 5 else "")
            self._error = self._error or (
                f"process {names} joined the cpuset {printable(one.path, 80)} meanwhile and was confined with it"
            )

    def _write(self, one: Confinement, step: str) -> None:
        """Journal first, then write."""
        mems = one.wide if step == "widen" else one.final
        known = (one.written,) if step == "widen" else (one.wide,)
        self._context.journal.note(cpuset=one.path, step=step)
        write_mems(self.kernel, one.path, mems, known)
        self._context.on_event(CpusetChanged(one.path, mems))

    def _end(self, journal: Journal) -> Outcome:
        """Write the last line of the journal and remove the oldest journals. A failed write becomes an error of the
        outcome."""
        left = len(self.plan.processes) - len(self._parts) - len(self._failures)
        cut_short = left or any(one.cancelled for one in self._parts)
        cancelled = bool(cut_short) and self._context.cancel.is_set()
        outcome = Outcome(
            journal.job, tuple(self._parts), tuple(self._failures), tuple(self._cpusets), self._context.elapsed,
            cancelled, self._error,
        )  # fmt: skip
        if left and cancelled:
            gone = Interrupted(f"interrupted: {left} more processes were not started")
            outcome = replace(outcome, error=outcome.error or str(gone))
        how = "cancelled" if cancelled else "done" if outcome.complete else "partly"
        try:
            journal.end(
                how, moved=outcome.moved, left=outcome.left, error="; ".join(outcome.errors)[:1000],
                worst_call=outcome.worst_call,
            )  # fmt: skip
        except NumatuiError as exc:
            return replace(outcome, error=outcome.error or str(exc))
        if self._past is not None and self._all_back and not (outcome.cancelled or outcome.errors):
            with suppress(OSError, ValueError):
                mark_undone(self._past, outcome.job)
        prune(self.directory, boot_id(self.kernel), files=self.files)
        return outcome
