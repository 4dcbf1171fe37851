"""One process of an undo: the pages that a job moved, as its journal has them, go back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from backend.errors import NotFound, NumatuiError
from backend.job.parts.page_mover import GaveUp, PageMover
from backend.job.parts.part_run import Cancelled, JobContext, PartRun
from backend.job.parts.source_pages import Chunk, SourcePages
from backend.journal.past_job import Index, JournaledChunk, PastJob, read_chunks
from backend.placement.pagemap import ENTRIES, Addresses
from backend.plan.plan import ProcessPlan
from backend.plan.reasons import Reason
from backend.plan.remap import Move


class UndoPart(PartRun):
    """`past`, `index`: the job that is taken back. `number`: which of its parts this process is."""

    def __init__(
        self, job: JobContext, part: int, planned: ProcessPlan, past: PastJob, index: Index, number: int
    ) -> None:
        super().__init__(job, part, planned.process, planned.steps)
        self.past, self.index, self.number = past, index, number
        try:
            self.before = self.placement().bytes_by_node
            still = still_there(self.pages, self._chunks())
            self.began(sum(still.by_move.values()))
            self.progress.record_unmoved("elsewhere", still.elsewhere)
            self.progress.total += still.elsewhere
        except BaseException:
            self.close()
            raise

    def move(self) -> None:
        """As `PlanPart.move`."""
        self.used.add("move_pages")
        mover = PageMover(self)
        may_move_all = self.kernel.capabilities()["move_all"].available
        try:
            for (_, _, shared), chunks in groupby(self._chunks(), lambda one: (one.move, one.page_size, one.shared)):
                mover.move_all = shared and may_move_all
                try:
                    mover.carry(part for chunk in chunks for part in self._to_move(chunk))
                except GaveUp as exc:
                    self.refused = self.refused or str(exc)
                    self.gave_up = True
        except Cancelled:
            self.cancelled = True
        except NumatuiError as exc:
            self.error, self.ended = str(exc), isinstance(exc, NotFound)
        finally:
            mover.close()
            self.workers = mover.most_workers

    away: Reason = "elsewhere"

    def rest(self, after: dict[int, int]) -> tuple[int, int]:
        self.remaining = sum(still_there(self.pages, self._chunks()).by_move.values())
        return self.remaining, 0

    remaining = -1
    """Bytes that are still where the job put them, as read at the end; -1: it could not be read."""

    def _chunks(self) -> Iterator[JournaledChunk]:
        return read_chunks(self.past, self.index, self.number)

    def _to_move(self, chunk: JournaledChunk) -> Iterator[Chunk]:
        """The pages of a chunk that are on its target now, without those that the job did not move."""
        back = Move(chunk.move.target, chunk.move.source)
        for addresses in _moved(chunk):
            there = addresses[self.pages.where(addresses) == back.source]
            if len(there):
                yield Chunk(back, chunk.page_size, there, np.zeros(len(there), np.bool_))


class StillThere:
    """Bytes by (target, source) that a job put on the target and that are there. `elsewhere`: bytes that it moved and
    that are now neither there nor back."""

    def __init__(self) -> None:
        self.by_move: dict[Move, int] = {}
        self.elsewhere = 0


def still_there(pages: SourcePages, chunks: Iterator[JournaledChunk]) -> StillThere:
    """Looks where these pages are now. Raises NumatuiError."""
    out = StillThere()
    for chunk in chunks:
        back = Move(chunk.move.target, chunk.move.source)
        for addresses in _moved(chunk):
            nodes = pages.where(addresses)
            there = int(np.count_nonzero(nodes == back.source))
            home = int(np.count_nonzero(nodes == back.target))
            out.by_move[back] = out.by_move.get(back, 0) + there * chunk.page_size
            if chunk.left is not None:
                out.elsewhere += (len(addresses) - there - home) * chunk.page_size
    return out


def _moved(chunk: JournaledChunk) -> Iterator[Addresses]:
    """The addresses of a chunk without those that did not move, up to ENTRIES at a time."""
    addresses = chunk.addresses if chunk.left is None else chunk.addresses[~chunk.left]
    for start in range(0, len(addresses), ENTRIES):
        yield addresses[start : start + ENTRIES]
