"""What all parts of a job have in common, whether their pages come from a plan or from a journal: the job that they are
a part of, a held process, progress, and the reckoning at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from backend.errors import NotFound, NotSupported, NumatuiError
from backend.job.events import OnEvent, PartBegan, Progressed
from backend.job.options import Options
from backend.job.outcome import PartOutcome, Progress, Used
from backend.job.parts.held import HeldProcess, NewProgram
from backend.job.parts.pausable_cancel import PausableCancel
from backend.job.parts.rate_limit import RateLimit
from backend.job.parts.reconcile import Answers, Stopped, reconcile
from backend.job.parts.source_pages import Chunk, SourcePages, gathered, source_pages
from backend.job.parts.verifier import Verifier
from backend.journal.journal import Journal
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.placement.pagemap import Addresses
from backend.placement.placement import Placement
from backend.plan.plan import Called, Confinement, Plan
from backend.plan.planner import confining_moves
from backend.plan.reasons import Reason
from backend.plan.remap import Move
from backend.process.process import Process, read_process


class Cancelled(Exception):
    """The user cancelled the job."""


@dataclass
class JobContext:
    """What the parts of one job share. `started`: nanoseconds of the kernel's clock."""

    kernel: Kernel
    plan: Plan
    options: Options
    journal: Journal
    on_event: OnEvent
    cancel: threading.Event
    limit: RateLimit
    started: int
    reporting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the job began, without pauses."""
        held = self.cancel.held_for if isinstance(self.cancel, PausableCancel) else 0
        return max(0, self.kernel.clock() - self.started - held)


Leftover = tuple[int, Move, int, Addresses]
"""A journaled chunk that the kernel moves by itself: its number, the move, bytes of a page, addresses."""
_CHUNK = 16 << 20
"""Bytes up to which small mappings share a chunk of the journal."""
_BY_KERNEL: tuple[Reason, ...] = ("shared", "hidden", "busy", "unmovable", "no-room", "refused", "unlocated")
"""Reasons of pages that another mechanism of the kernel may move after all, the likeliest first."""


class PartRun:
    """One process of a job. Raises NotFound, NotPermitted, NotSupported if it cannot be held: then nothing moved."""

    pages: SourcePages
    verifier: Verifier
    progress: Progress
    before: dict[int, int]
    away: Reason = "gone"

    def __init__(self, job: JobContext, part: int, process: Process, steps: tuple[Move, ...]) -> None:
        self.job, self.part, self.process, self.steps = job, part, process, steps
        self.kernel, self.journal, self.options, self.cancel = job.kernel, job.journal, job.options, job.cancel
        self.limit, self.pid = job.limit, process.pid
        self.move_all = job.plan.move_all
        self.used: set[Called] = set()
        self.error = self.refused = ""
        self.gave_up = self.cancelled = self.ended = False
        self.workers = 1
        self.started = job.elapsed
        self.held = HeldProcess(self.kernel, process)
        try:
            self.pages = source_pages(self.kernel, self.pid, self.check)
            self.verifier = Verifier(self.pages, None)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets the process go."""
        self.held.close()

    def began(self, total: int) -> None:
        self.progress = Progress(total)
        self.job.on_event(PartBegan(self.part, self.process, total))

    def check(self) -> None:
        """Called right before every system call. Raises Cancelled; NotFound if the process is no longer the same."""
        if self.cancel.is_set():
            raise Cancelled
        self.held.check()

    def report(self, took: int) -> None:
        """Records a call that took so many nanoseconds. Thread-safe."""
        with self.job.reporting:
            elapsed = self.job.elapsed
            self.progress.worst_call = max(self.progress.worst_call, took)
            self.progress.last_call = took
            self.progress.elapsed = elapsed - self.started
            self.job.on_event(Progressed(self.part, self.progress, elapsed))

    @property
    def stopped(self) -> Stopped:
        """Why not every page had its turn."""
        if self.cancelled:
            return "cancelled"
        if self.gave_up:
            return "refused" if self.error or self.refused else "no-room"
        return "stopped" if self.error else ""

    def move(self) -> None:
        """Move all that is to move. What happened is in `progress`, `error` and `cancelled` afterwards."""
        raise NotImplementedError

    def rest(self, after: dict[int, int]) -> tuple[int, int]:
        """(bytes that are still where they should have left, how much the process has grown)."""
        raise NotImplementedError

    def outcome(self, confined: bool = False) -> PartOutcome:
        """Read again what there is now, and say what became of every page."""
        progress = self.progress
        after: dict[int, int] = {}
        appeared = swapped = 0
        left: dict[Reason, int]
        try:
            self.held.check_program()
            after = self.read_again()
            swapped = read_process(self.kernel, self.pid).swap
            rest, grown = self.rest(after)
        except NotFound as exc:
            self.error = self.error or str(exc)
            progress.left.clear()
            reason = "new-program" if isinstance(exc, NewProgram) else "process-ended"
            progress.record_unmoved(reason, progress.total - progress.moved)
            moved, left = progress.moved, dict(progress.left)
        except NumatuiError as exc:
            self.error = self.error or str(exc)
            progress.record_unmoved("stopped", progress.total - progress.moved - progress.explained)
            moved = progress.moved
            left = {reason: amount for reason, amount in progress.left.items() if amount}
        else:
            answers = Answers(progress.total, progress.moved, progress.left, self.stopped, self.away)
            made = reconcile(answers, rest, grown)
            moved, left, appeared = made.moved, made.left, made.appeared
        return PartOutcome(
            process=self.process,
            method=used_text(self.used),
            before=self.before,
            after=after,
            moved=moved,
            left=left,
            elapsed=self.job.elapsed - self.started,
            worst_call=progress.worst_call,
            cancelled=self.cancelled,
            error=self.error or self.refused,
            appeared=appeared,
            swapped=swapped,
            workers=self.workers,
            confined=confined,
        )

    def read_again(self) -> dict[int, int]:
        """Bytes by node now. Raises NumatuiError."""
        return self.placement().bytes_by_node

    def locate(self, keep: int = 0) -> Placement:
        """The placement with the ends of all mappings. It is read again once if a mapping changed between the two
        files. `keep`: so many pages are kept as they were found."""
        before = self.placement(keep)
        return self.placement(keep) if self.unlocated(before) else before

    def placement(self, keep: int = 0) -> Placement:
        """The placement of the mappings that the plan covers."""
        return self.pages.placement(self.process.rss, keep).within(self.job.plan.within)

    def unlocated(self, placement: Placement) -> int:
        return on_sources(Placement(tuple(vma for vma in placement.vmas if not vma.end)), self.steps)

    def confining_steps(self, one: Confinement) -> tuple[Move, ...]:
        """What the kernel moves of this process when that cpuset is narrowed."""
        other = next((other for other in one.others if other.subject.process.pid == self.pid), None)
        return other.steps if other is not None else confining_moves(one)

    def journal_leftovers(self, steps: tuple[Move, ...]) -> list[Leftover]:
        """Journals what the kernel is about to move by these steps, shared pages too, as it moves them for everybody.
        Returns (chunk, move, bytes of a page, addresses)."""
        placement = self.locate()
        return [one for step in steps for one in self.journal_all(step, placement, shared=True)]

    def moved_by_kernel(self, journaled: list[Leftover]) -> None:
        """Looks which of the leftovers have gone where they should, and counts them as moved."""
        amount = sum(self.journal_left(*one) for one in journaled)
        self.progress.moved += amount
        for reason in _BY_KERNEL:
            explained = min(amount, self.progress.left.get(reason, 0))
            if explained:
                self.progress.left[reason] -= explained
                amount -= explained

    def journal_all(self, step: Move, before: Placement, shared: bool) -> list[Leftover]:
        """Journals the pages on the source. If they cannot be located, it journals their number, and the job cannot be
        undone page by page. Returns the chunks with their numbers."""
        journaled: list[Leftover] = []
        try:
            for chunk in gathered(chunks_of(self.pages, before, step), lambda: _CHUNK):
                number = self.journal.before(self.part, step, chunk.page_size, chunk.addresses, shared)
                journaled.append((number, step, chunk.page_size, chunk.addresses))
        except NotSupported:
            pages = sum(vma.pages.get(step.source, 0) for vma in before.vmas)
            self.journal.note(counted=self.part, pages=pages)
        return journaled

    def journal_left(self, number: int, step: Move, page_size: int, addresses: Addresses) -> int:
        """Records which pages of a chunk are still on their source. Returns the bytes that are not."""
        left = self.pages.where(addresses) == step.source
        self.journal.after(number, left)
        return int(np.count_nonzero(~left)) * page_size


def used_text(used: set[Called]) -> Used:
    """The system calls that were made, as `PartOutcome.method`."""
    if len(used) == 2:
        return "move_pages+migrate_pages"
    return "migrate_pages" if "migrate_pages" in used else "move_pages"


def chunks_of(pages: SourcePages, before: Placement, step: Move) -> Iterator[Chunk]:
    """All pages on the source of a step, mapping by mapping."""
    for vma in before.vmas:
        if vma.pages.get(step.source) and vma.end:
            yield from pages.on_node(vma, step)


def on_sources(placement: Placement, steps: Iterable[Move]) -> int:
    """Bytes on the sources of these steps."""
    sources = NodeSet(step.source for step in steps)
    by_node = placement.bytes_by_node
    return sum(by_node.get(node, 0) for node in sources)
