"""One process of a plan: its pages are found, moved step by step, and what the calls answered is kept."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from backend.errors import NotFound, NumatuiError
from backend.job.events import FellBack
from backend.job.parts.page_mover import GaveUp, PageMover
from backend.job.parts.part_run import Cancelled, JobContext, PartRun, chunks_of, on_sources
from backend.job.parts.verifier import Verifier
from backend.nodeset import NodeSet
from backend.placement.by_stretch import clip
from backend.placement.found_pages import FRESH
from backend.placement.placement import Placement
from backend.placement.reader import KEPT_PAGES
from backend.plan.plan import ProcessPlan
from backend.plan.remap import Move, remaining
from backend.process.page_calls import call_migrate_pages, refusal
from backend.process.process import process_error


class PlanPart(PartRun):
    """`planned`: what the plan says of this process."""

    def __init__(self, job: JobContext, part: int, planned: ProcessPlan) -> None:
        self.plan, self.planned = job.plan, planned
        super().__init__(job, part, planned.process, planned.steps)
        try:
            self._located = self._just_read() or self.locate(keep=KEPT_PAGES)
            self.before = self._located.bytes_by_node
            self.pages.found = self._located.found
            self.verifier = Verifier(self.pages, self.pages.found.stillness if self.pages.found else None)
            self.began(on_sources(self._located, self.steps))
        except BaseException:
            self.close()
            raise

    def _just_read(self) -> Placement | None:
        """What the plan was made of, if that was read a moment ago, with the ends of mappings."""
        placement, at = self.planned.placement, self.plan.at
        fresh = at > 0 and 0 <= self.kernel.clock() - at < FRESH
        if placement is None or not fresh or not all(vma.end for vma in placement.vmas):
            return None
        return placement

    def placement(self, keep: int = 0) -> Placement:
        """Of what the plan covers; of parts of mappings, in its order."""
        if self.planned.only is None:
            return super().placement(keep)
        return clip(self.kernel, self.pid, self.pages.frames, super().placement(), self.planned.only)

    def move(self) -> None:
        """All steps. Raises only what is no error of numatui."""
        if self.planned.by_kernel:
            return
        try:
            if self.plan.calls == "move_pages":
                self._by_move_pages()
            else:
                self._by_migrate_pages()
        except Cancelled:
            self.cancelled = True
        except NumatuiError as exc:
            self.error, self.ended = str(exc), isinstance(exc, NotFound)

    def read_again(self) -> dict[int, int]:
        verified = self.verifier.after(self.before) if self.used == {"move_pages"} else None
        return super().read_again() if verified is None else verified

    def rest(self, after: dict[int, int]) -> tuple[int, int]:
        grown = max(0, sum(after.values()) - sum(self.before.values()))
        rest = remaining(self.before, after, self.steps)
        if self.stopped:
            # A node that was to be emptied and then filled: what is on it may be either.
            there = sum(after.get(step.source, 0) for step in {one.source: one for one in self.steps}.values())
            rest = max(rest, min(there, self.progress.total - self.progress.moved))
        return rest, grown

    def _by_move_pages(self) -> None:
        self.used.add("move_pages")
        self.progress.record_unmoved("unlocated", self.unlocated(self._located))
        mover = PageMover(self)
        try:
            for step in self.steps:
                explained = self.progress.explained
                mover.hidden = self.pages.hidden = 0
                refused = False
                try:
                    mover.carry(chunks_of(self.pages, self._located, step))
                except GaveUp as exc:
                    # EACCES: the target is outside the cpuset of the process (do_pages_move() in mm/migrate.c).
                    # migrate_pages may go there for callers with CAP_SYS_NICE.
                    refused = exc.errno == errno.EACCES and self.plan.fallback == "cpuset"
                    if not refused:
                        self.gave_up = True
                        self.error = self.error or str(exc)
                self.progress.record_unmoved("hidden", self.pages.hidden)
                hidden = mover.hidden + self.pages.hidden
                if refused or (hidden and self.plan.fallback == "balancing"):
                    self._fall_back(step, hidden, explained)
        finally:
            mover.close()
            self.workers = mover.most_workers

    def _fall_back(self, step: Move, hidden: int, explained: int) -> None:
        """Uses migrate_pages for what move_pages cannot see, or may not move to a node outside the cpuset. It runs
        before the next step, which may fill the node that this one empties. `explained`: the bytes that had a reason
        before this step."""
        self.job.on_event(FellBack(self.part))
        if hidden:
            self.progress.left["hidden"] -= hidden
        self._whole_step(step, explained)

    def _by_migrate_pages(self) -> None:
        """Step by step, in the order in which one call with all nodes would do them (do_migrate_pages())."""
        for step in self.steps:
            self._whole_step(step, self.progress.explained)

    def _whole_step(self, step: Move, explained: int) -> None:
        before = self.placement()
        if not before.bytes_by_node.get(step.source):
            return
        moved, now, not_moved = self._migrate_pages(step, before)
        self.progress.moved += moved
        self.progress.done = min(self.progress.total, self.progress.done + moved)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, (step,))
        self._explain(now, max(0, rest - (self.progress.explained - explained)), step, not_moved)

    def _migrate_pages(self, step: Move, before: Placement) -> tuple[int, Placement, int | None]:
        """One migrate_pages(2), journaled ahead. Returns (bytes that left, the placement after it, pages that the call
        reported as not moved, None if it failed)."""
        self.used.add("migrate_pages")
        # migrate_pages also moves shared pages for callers who may do that.
        _, shared = self.kernel.credentials()
        journaled = self.journal_all(step, before, shared)
        targets = NodeSet([step.target])
        self.check()
        began = self.kernel.clock()
        not_moved: int | None = None
        try:
            not_moved = call_migrate_pages(self.kernel, self.pid, NodeSet([step.source]), targets)
        except OSError as exc:
            if exc.errno in (errno.ESRCH, errno.EPERM):
                raise process_error(self.kernel, self.pid, exc) from None
            # ENOMEM: the target is full. What moved before that stays there.
            if exc.errno != errno.ENOMEM:
                self.held.check_program()
                self.error = refusal(self.kernel, "migrate_pages", exc, targets)
        took = self.kernel.clock() - began
        now = self.placement()
        for one in journaled:
            self.journal_left(*one)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, (step,))
        moved = max(0, on_sources(before, (step,)) - rest)
        self.report(took)
        return moved, now, not_moved

    def _explain(self, now: Placement, rest: int, step: Move, not_moved: int | None) -> None:
        """migrate_pages gives no reasons: shared pages are seen in the placement, pages that it counted were busy."""
        if not_moved is None:
            self.progress.record_unmoved("refused" if self.error else "no-room", rest)
            return
        shared = min(rest, sum(_shared(now, step)))
        busy = min(rest - shared, not_moved * self.kernel.page_size)
        self.progress.record_unmoved("shared", shared)
        self.progress.record_unmoved("busy", busy)
        self.progress.record_unmoved("unmovable", rest - shared - busy)


def _shared(placement: Placement, step: Move) -> Iterator[int]:
    """For each mapping, the bytes on the source that may be shared."""
    for vma in placement.vmas:
        yield min(vma.shared_bytes, on_sources(Placement((vma,)), (step,)))
