"""Carries out a plan for one process: in batches, journaled ahead, cancellable, verified by reading again."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from backend.errors import NotFound, NotSupported, NumatuiError
from backend.files.jobs_dir import jobs_dir
from backend.job.held import HeldProcess, NewProgram
from backend.job.job_run import Cancelled, JobRun, end_journal, journal_head, method_of
from backend.job.journal import Journal, Runs
from backend.job.options import Options
from backend.job.outcome import Outcome, Progress, Used
from backend.job.source_pages import Chunk, SourcePages
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.plan.plan import Called, Plan
from backend.plan.remap import Move, remaining
from backend.process.process import Process, process_error, read_process


def migrate_process(
    kernel: Kernel,
    plan: Plan,
    process: Process,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Moves the pages of one process of `plan`. Returns what happened, even if only part of it could be done.
    `on_progress` may be called from any thread, one call at a time.

    Raises NotFound, NotPermitted, NotSupported, NumatuiError (journal, a second job) before anything has moved."""
    job = _Job(kernel, plan, process, options or Options(), on_progress, cancel or threading.Event())
    return job.run()


class _Job(JobRun):
    def __init__(
        self, kernel: Kernel, plan: Plan, process: Process, options: Options,
        on_progress: Callable[[Progress], None], cancel: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(kernel, options, on_progress, cancel)
        self.plan, self.process = plan, process
        self.pid = process.pid
        self.used: set[Called] = set()
        self.error = ""
        self.gave_up = False
        self.workers = 1

    def run(self) -> Outcome:
        from backend.job.source_pages import source_pages

        self.held = HeldProcess(self.kernel, self.process)
        try:
            method = method_of(self.kernel, self.options)
            if self.plan.within is not None and method != "move_pages":
                raise NotSupported(
                    "migrate_pages moves whole processes: one mapping can be moved by move_pages only",
                    "leave out --vma, or --method",
                )
            self.pages = source_pages(self.kernel, self.pid, self.check)
            before = self._located()
            self.progress = Progress(_on_sources(before, self.plan.moves))
            self.journal = Journal(
                self.options.journal_dir or jobs_dir(),
                journal_head(self, method, self.plan.moves, before),
            )
            return self._journaled(method, before)
        finally:
            self.held.close()

    def _journaled(self, method: Called, before: Placement) -> Outcome:
        self.started = self.kernel.clock()
        cancelled = False
        try:
            try:
                if method == "move_pages":
                    self._by_move_pages(before)
                else:
                    self._by_migrate_pages(before)
            except Cancelled:
                cancelled = True
            except NumatuiError as exc:
                self.error = str(exc)
            outcome = self._outcome(before, cancelled)
        except BaseException:
            with suppress(NumatuiError):
                self.journal.end("failed", moved=self.progress.moved, left=self.progress.left)
            raise
        return end_journal(self.journal, outcome)

    def _located(self) -> Placement:
        """The placement with the ends of all mappings. It is read again once if a mapping changed between the two
        files."""
        before = self._placement()
        return self._placement() if self._unlocated(before) else before

    def _placement(self) -> Placement:
        """The placement of the mappings that the plan covers."""
        return self.pages.placement(self.process.rss).within(self.plan.within)

    def _unlocated(self, placement: Placement) -> int:
        return _on_sources(Placement(tuple(vma for vma in placement.vmas if not vma.end)), self.plan.moves)

    def _by_move_pages(self, before: Placement) -> None:
        from backend.job.page_mover import GaveUp, PageMover

        self.used.add("move_pages")
        self.progress.record_unmoved("unlocated", self._unlocated(before))
        mover = PageMover(self)
        try:
            for move in self.plan.moves:
                explained = self.progress.explained
                mover.hidden = self.pages.hidden = 0
                try:
                    mover.carry(chunks_of(self.pages, before, move))
                    refused = False
                except GaveUp as exc:
                    # EACCES: the target is outside the cpuset of the process (do_pages_move() in mm/migrate.c).
                    # migrate_pages may go there for callers with CAP_SYS_NICE.
                    refused = exc.errno == errno.EACCES and self._may_fall_back()
                    if not refused:
                        self.gave_up = True
                        self.error = self.error or str(exc)
                self.progress.record_unmoved("hidden", self.pages.hidden)
                hidden = mover.hidden + self.pages.hidden
                if refused or (hidden and self._may_fall_back()):
                    self._by_nodes(move, hidden, explained)
        finally:
            mover.close()
            self.workers = mover.most_workers

    def _may_fall_back(self) -> bool:
        whole = self.plan.within is None
        return whole and self.options.method == "auto" and self.kernel.capabilities()["migrate_pages"].available

    def _by_nodes(self, move: Move, hidden: int, explained: int) -> None:
        """Uses migrate_pages for what move_pages cannot see, or may not move to a node outside the cpuset. It runs
        before the next move, which may fill the node that this one empties. `explained`: the bytes that had a reason
        before this move."""
        before = self._placement()
        if hidden:
            self.progress.left["hidden"] -= hidden
        moved, now, not_moved = self._migrate_pages(NodeSet([move.source]), NodeSet([move.target]), (move,), before)
        self.progress.moved += moved
        self.progress.done = min(self.progress.total, self.progress.done + moved)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, (move,))
        self._explain(now, max(0, rest - (self.progress.explained - explained)), (move,), not_moved)

    def _by_migrate_pages(self, before: Placement) -> None:
        moved, now, not_moved = self._migrate_pages(self.plan.sources, self.plan.targets, self.plan.moves, before)
        self.progress.moved = moved
        self.progress.done = self.progress.total
        rest = remaining(before.bytes_by_node, now.bytes_by_node, self.plan.moves)
        self._explain(now, rest, self.plan.moves, not_moved)

    def _migrate_pages(
        self, sources: NodeSet, targets: NodeSet, moves: tuple[Move, ...], before: Placement
    ) -> tuple[int, Placement, int | None]:
        """One migrate_pages(2), journaled ahead. Returns (bytes that left, the placement after it, pages that the call
        reported as not moved, None if it failed)."""
        from backend.process.page_calls import call_migrate_pages, refusal

        self.used.add("migrate_pages")
        journaled = [one for move in moves for one in self._journal_all(move, before)]
        self.check()
        began = self.kernel.clock()
        not_moved: int | None = None
        try:
            not_moved = call_migrate_pages(self.kernel, self.pid, sources, targets)
        except OSError as exc:
            if exc.errno in (errno.ESRCH, errno.EPERM):
                raise process_error(self.kernel, self.pid, exc) from None
            # ENOMEM: the target is full. What moved before that stays there.
            if exc.errno != errno.ENOMEM:
                self.held.check_program()
                self.error = refusal(self.kernel, "migrate_pages", exc, targets)
        took = self.kernel.clock() - began
        now = self._placement()
        for one in journaled:
            self._journal_left(*one)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, moves)
        moved = max(0, _on_sources(before, moves) - rest)
        self.report(took)
        return moved, now, not_moved

    def _journal_all(self, move: Move, before: Placement) -> list[tuple[int, Move, int, Runs]]:
        """Journals the pages on the source. If they cannot be located, it journals their number per mapping, and the
        job cannot be undone page by page. migrate_pages also moves shared pages for callers who may do that. Returns
        the chunks with their numbers."""
        from backend.placement.pagemap import runs_of

        shared = self.kernel.capabilities()["move_all"].available
        journaled: list[tuple[int, Move, int, Runs]] = []
        try:
            for chunk in chunks_of(self.pages, before, move):
                runs = runs_of(chunk.addresses, chunk.page_size)
                number = self.journal.before(move, chunk.page_size, runs, shared)
                journaled.append((number, move, chunk.page_size, runs))
        except NotSupported:
            runs = [(vma.start, vma.pages[move.source]) for vma in before.vmas if vma.pages.get(move.source)]
            self.journal.before(move, 0, runs)
        return journaled

    def _journal_left(self, number: int, move: Move, page_size: int, runs: Runs) -> None:
        """Records which pages of a chunk are still on their source."""
        from backend.placement.pagemap import addresses_of, runs_of

        addresses = addresses_of(runs, page_size)
        left = addresses[self.pages.where(addresses) == move.source]
        self.journal.after(number, len(addresses) - len(left), runs_of(left, page_size))

    def _explain(self, now: Placement, rest: int, moves: tuple[Move, ...], not_moved: int | None) -> None:
        """migrate_pages gives no reasons: shared pages are seen in the placement, pages that it counted were busy."""
        if not_moved is None:
            self.progress.record_unmoved("refused" if self.error else "no-room", rest)
            return
        shared = min(rest, sum(_shared(now, moves)))
        busy = min(rest - shared, not_moved * self.kernel.page_size)
        self.progress.record_unmoved("shared", shared)
        self.progress.record_unmoved("busy", busy)
        self.progress.record_unmoved("unmovable", rest - shared - busy)

    def _outcome(self, before: Placement, cancelled: bool) -> Outcome:
        progress = self.progress
        after: dict[int, int] = {}
        appeared = swapped = 0
        try:
            self.held.check_program()
            after = self._placement().bytes_by_node
            swapped = read_process(self.kernel, self.pid).swap
        except NotFound as exc:
            self.error = self.error or str(exc)
            progress.left.clear()
            reason = "new-program" if isinstance(exc, NewProgram) else "process-ended"
            progress.record_unmoved(reason, progress.total - progress.moved)
        except NumatuiError as exc:
            self.error = self.error or str(exc)
            progress.record_unmoved("stopped", progress.total - progress.moved - progress.explained)
        else:
            appeared = self._reconcile(before.bytes_by_node, after, cancelled)
        progress.elapsed = self.kernel.clock() - self.started
        return Outcome(
            job=self.journal.job,
            process=self.process,
            method=used_text(self.used),
            before=before.bytes_by_node,
            after=after,
            moved=progress.moved,
            left={reason: amount for reason, amount in progress.left.items() if amount},
            elapsed=progress.elapsed,
            worst_call=progress.worst_call,
            cancelled=cancelled,
            error=self.error,
            appeared=appeared,
            swapped=swapped,
            workers=self.workers,
        )

    def _reconcile(self, before: dict[int, int], after: dict[int, int], cancelled: bool) -> int:
        """Compares what the calls answered with what was read again. What is still on sources gets a reason, and what
        came back counts as not moved. Returns the bytes newly allocated there."""
        progress = self.progress
        rest = remaining(before, after, self.plan.moves)
        if hidden := progress.left.get("hidden", 0):
            progress.left["hidden"] = max(0, min(hidden, rest - progress.explained + hidden))
        unreached = progress.total - progress.moved - progress.explained
        if self.gave_up:
            refused = max(0, min(rest - progress.explained, unreached))
            progress.record_unmoved("refused" if self.error else "no-room", refused)
            unreached -= refused
        if cancelled:
            progress.record_unmoved("cancelled", unreached)
        elif self.error and not self.gave_up:
            progress.record_unmoved("stopped", unreached)
        elif not self.gave_up:
            progress.record_unmoved("gone", unreached - rest)
        excess = max(0, rest - progress.explained)
        appeared = min(excess, max(0, sum(after.values()) - sum(before.values())))
        returned = min(excess - appeared, progress.moved)
        progress.record_unmoved("returned", returned)
        progress.moved -= returned
        return appeared


def chunks_of(pages: SourcePages, before: Placement, move: Move) -> Iterator[Chunk]:
    """All pages on the source of a move, mapping by mapping."""
    for vma in before.vmas:
        if vma.pages.get(move.source) and vma.end:
            yield from pages.on_node(vma, move)


def used_text(used: set[Called]) -> Used:
    """The system calls that were made, as `Outcome.method`."""
    if len(used) == 2:
        return "move_pages+migrate_pages"
    return "migrate_pages" if "migrate_pages" in used else "move_pages"


def _shared(placement: Placement, moves: tuple[Move, ...]) -> Iterator[int]:
    """For each mapping, the bytes on sources that may be shared."""
    for vma in placement.vmas:
        yield min(vma.shared_bytes, _on_sources(Placement((vma,)), moves))


def _on_sources(placement: Placement, moves: tuple[Move, ...]) -> int:
    sources = NodeSet(move.source for move in moves)
    by_node = placement.bytes_by_node
    return sum(by_node.get(node, 0) for node in sources)
