"""Undoes a job: moves the pages that it moved, and only those, back to where they came from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby

import numpy as np

from backend.errors import NotFound, NotSupported, NumatuiError
from backend.files.jobs_dir import jobs_dir
from backend.files.text import printable
from backend.job.held import HeldProcess, NewProgram
from backend.job.job_run import Cancelled, JobRun, end_journal, journal_head, method_of
from backend.job.journal import Journal, Runs
from backend.job.options import Options
from backend.job.outcome import Outcome, Progress, Reason
from backend.job.page_mover import GaveUp, PageMover
from backend.job.past_jobs import JournaledChunk, PastJob, mark_undone, read_job
from backend.job.source_pages import Chunk, source_pages
from backend.kernel import Kernel, MoveFlag
from backend.machine.kernel_info import boot_id
from backend.placement.pagemap import ENTRIES, Addresses, addresses_of
from backend.plan.remap import Move
from backend.process.process import read_process


def check_undo(kernel: Kernel, job: PastJob) -> None:
    """Raises NotFound, NotSupported, NumatuiError with the reason if this job cannot be undone."""
    pid = job.identity.pid
    if job.source != kernel.source:
        raise NotSupported(
            f"job {job.job} ran on another machine ({printable(job.source, 40)})", "it can be undone there only"
        )
    if job.state == "running":
        raise NumatuiError(f"job {job.job} is still running", "stop it first")
    if job.undone_by:
        raise NumatuiError(
            f"job {job.job} was undone already, by {printable(job.undone_by, 80)}",
            "numatui jobs lists all",
        )
    if job.boot and job.boot != boot_id(kernel):
        raise NotFound(
            f"the machine was rebooted after job {job.job}: process {pid} is gone",
            "nothing is left to undo",
        )
    if any(not chunk.page_size for chunk in job.chunks):
        raise NotSupported(
            f"job {job.job} recorded how many pages it moved, but not which (it had neither root nor move_pages)",
            f"move by nodes instead: numatui migrate {pid} --from … --to …",
        )


def undo_job(
    kernel: Kernel,
    job: PastJob,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Moves back what is still where the job put it, journaled as a job of its own. `Outcome.left`: why pages that the
    job moved do not go back. Raises what `check_undo` raises, NotFound if the process has ended or runs another
    program, NotPermitted."""
    check_undo(kernel, job)
    return _Undo(kernel, job, options or Options(), on_progress, cancel or threading.Event()).run()


class _Undo(JobRun):
    def __init__(
        self, kernel: Kernel, job: PastJob, options: Options,
        on_progress: Callable[[Progress], None], cancel: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(kernel, options, on_progress, cancel)
        self.job = job
        self.started = kernel.clock()
        self.error = self.refused = ""
        self.gave_up = False
        self.elsewhere = 0
        self.workers = 1

    def run(self) -> Outcome:
        process = read_process(self.kernel, self.job.identity.pid)
        if process.identity != self.job.identity:
            raise NotFound(
                f"process {process.pid} has ended and another has its number now",
                f"nothing is left of what job {self.job.job} moved",
            )
        self.held = HeldProcess(self.kernel, process)
        try:
            self.held.check_told(self.held.program, self.job.program)
            if self.held.program != self.job.program:
                raise NotFound(
                    f"process {process.pid} has started another program since job {self.job.job}",
                    "nothing is left of what it moved",
                )
            method = method_of(self.kernel, self.options)
            if method != "move_pages":
                raise NotSupported(
                    "only move_pages can move single pages back, and it is not available here",
                    "move by nodes instead: numatui migrate",
                )
            self.pages = source_pages(self.kernel, process.pid, self.check)
            return self._journaled()
        finally:
            self.held.close()

    def _journaled(self) -> Outcome:
        placement = self.pages.placement(self.held.process.rss)
        back, elsewhere = self._still_there()
        self.progress = Progress(back)
        self.progress.record_unmoved("elsewhere", elsewhere)
        self.elsewhere = elsewhere
        directory = self.options.journal_dir or jobs_dir()
        moves = tuple(Move(one.target, one.source) for one in reversed(self.job.moves))
        head = journal_head(self, "move_pages", moves, placement)
        self.journal = Journal(directory, {**head, "undoes": self.job.job})
        try:
            with suppress(OSError):
                check_undo(self.kernel, read_job(self.job.path))
            cancelled = self._move_back()
            outcome, nothing_left = self._outcome(placement.bytes_by_node, cancelled)
        except BaseException as exc:
            with suppress(NumatuiError):
                why = str(exc) if isinstance(exc, NumatuiError) else ""
                self.journal.end("failed", moved=self.progress.moved, left=self.progress.left, error=why)
            raise
        outcome = end_journal(self.journal, outcome)
        if nothing_left:
            with suppress(OSError):
                mark_undone(self.job, outcome.job)
        return outcome

    def _move_back(self) -> bool:
        """Returns whether it was cancelled."""
        mover = PageMover(self)
        try:
            for (_, _, shared), chunks in groupby(
                reversed(self.job.chunks), lambda one: (one.move, one.page_size, one.shared)
            ):
                mover.flags = int(MoveFlag.MOVE_ALL if shared and self._may_move_all() else MoveFlag.MOVE)
                try:
                    mover.carry(part for chunk in chunks for part in self._to_move(chunk))
                except GaveUp as exc:
                    self.refused = self.refused or str(exc)
                    self.gave_up = True
        except Cancelled:
            return True
        except NumatuiError as exc:
            self.error = str(exc)
        finally:
            mover.close()
            self.workers = mover.most_workers
        return False

    def _may_move_all(self) -> bool:
        return self.kernel.capabilities()["move_all"].available

    def _still_there(self) -> tuple[int, int]:
        """(bytes that can go back, bytes that moved and are now neither on the target nor on the source)."""
        back = elsewhere = 0
        for chunk in self.job.chunks:
            for addresses in _moved(chunk):
                nodes = self.pages.where(addresses)
                there = int(np.count_nonzero(nodes == chunk.move.target))
                home = int(np.count_nonzero(nodes == chunk.move.source))
                back += there * chunk.page_size
                if chunk.moved is not None:
                    elsewhere += (len(addresses) - there - home) * chunk.page_size
        return back, elsewhere

    def _to_move(self, chunk: JournaledChunk) -> Iterator[Chunk]:
        """The pages of a chunk that are on its target now, without those that the job did not move."""
        move = Move(chunk.move.target, chunk.move.source)
        for addresses in _moved(chunk):
            there = addresses[self.pages.where(addresses) == move.source]
            if len(there):
                yield Chunk(move, chunk.page_size, there, np.zeros(len(there), np.bool_))

    def _outcome(self, before: dict[int, int], cancelled: bool) -> tuple[Outcome, bool]:
        """(what happened, read again; whether nothing is left to undo)."""
        progress = self.progress
        after: dict[int, int] = {}
        swapped = 0
        nothing_left = False
        try:
            self.held.check_program()
            after = self.pages.placement(self.held.process.rss).bytes_by_node
            swapped = read_process(self.kernel, self.held.pid).swap
            self._reconcile(rest := self._still_there()[0], cancelled)
            nothing_left = not rest and not cancelled and not self.error
        except NotFound as exc:
            self.error = self.error or str(exc)
            progress.left.clear()
            ended = "new-program" if isinstance(exc, NewProgram) else "process-ended"
            progress.record_unmoved(ended, progress.total - progress.moved)
        except NumatuiError as exc:
            self.error = self.error or str(exc)
            progress.record_unmoved("stopped", self._unexplained())
        progress.elapsed = self.kernel.clock() - self.started
        outcome = Outcome(
            self.journal.job, self.held.process, "move_pages", before, after, progress.moved,
            {reason: amount for reason, amount in progress.left.items() if amount}, progress.elapsed,
            progress.worst_call, cancelled, self.error or self.refused, swapped=swapped, workers=self.workers,
        )  # fmt: skip
        return outcome, nothing_left

    def _unexplained(self) -> int:
        """Bytes that neither moved nor have a reason."""
        progress = self.progress
        return progress.total - progress.moved - (progress.explained - self.elsewhere)

    def _reconcile(self, rest: int, cancelled: bool) -> None:
        """Gives a reason to `rest`, the bytes that are still, or again, where the job put them, and to what left before
        its turn."""
        progress = self.progress
        away = self.elsewhere + progress.left.get("gone", 0)
        still = rest - (progress.explained - away)
        if still > 0:
            unreached: Reason = "cancelled" if cancelled else "stopped" if self.error else "no-room"
            if self.refused and unreached == "no-room":
                unreached = "refused"
            waiting = min(still, self._unexplained()) if cancelled or self.error or self.gave_up else 0
            progress.record_unmoved(unreached, waiting)
            returned = min(still - waiting, progress.moved)
            progress.record_unmoved("returned", returned)
            progress.moved -= returned
        progress.record_unmoved("elsewhere", self._unexplained())


def _moved(chunk: JournaledChunk) -> Iterator[Addresses]:
    """The addresses of a chunk without those that did not move, up to ENTRIES at a time."""
    left = addresses_of(chunk.left, chunk.page_size)
    pending: Runs = []
    count = 0
    for start, pages in chunk.runs:
        while pages:
            some = min(pages, ENTRIES - count)
            pending.append((start, some))
            start, pages, count = start + some * chunk.page_size, pages - some, count + some
            if count == ENTRIES:
                yield _without(addresses_of(pending, chunk.page_size), left)
                pending, count = [], 0
    if pending:
        yield _without(addresses_of(pending, chunk.page_size), left)


def _without(addresses: Addresses, left: Addresses) -> Addresses:
    """Addresses not in `left`, unique and ascending whatever the journal says. np.setdiff1d would import numpy.ma,
    which takes as long as a small undo."""
    ordered = np.sort(addresses)
    again = np.zeros(len(ordered), np.bool_)
    again[1:] = ordered[1:] == ordered[:-1]
    ordered = ordered[~again]
    return ordered[~np.isin(ordered, left, assume_unique=True)]
