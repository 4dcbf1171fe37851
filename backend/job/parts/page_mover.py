"""Moves pages by move_pages(2), chunk by chunk, until every page has moved or has a reason. Each chunk is journaled
before it moves. Several workers move batches in parallel; the time budget of a call limits the size of a batch."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backend.errors import NumatuiError
from backend.job.parts.part_run import PartRun
from backend.job.parts.source_pages import Chunk, gathered
from backend.job.parts.worker_pool import WorkerPool, allowed_cpus
from backend.kernel import MoveFlag
from backend.machine.kernel_info import balancing, huge_page_size
from backend.nodeset import NodeSet
from backend.placement.pagemap import Addresses, PageMap
from backend.plan.reasons import Reason
from backend.process.page_calls import UNTOUCHED, Statuses, call_move_pages, query, refusal
from backend.process.process import process_error

_SMALLEST, _FIRST, _LARGEST = 256 << 10, 512 << 10, 64 << 20
"""Bytes of a batch."""
_WINDOW = 4 << 20
"""Bytes of the smallest window, the work that one worker takes at a time; the largest is one batch. Small ones at
first, so that all workers have some and their number is found early, and at the end, so that all end together; large
ones between, as each costs Python's time."""
_SHARE = 8
"""A window is at most this part of what was queued before."""
_PER_CHUNK = 2
"""Windows of a chunk of the journal: each chunk costs a sync."""
_STUCK = 16
"""After this many calls without progress on one batch, the rest of it counts as busy."""


_At: TypeAlias = "slice | NDArray[np.intp]"
"""Positions in a chunk."""


class GaveUp(Exception):
    """The kernel gave up on a move: no room on the target (`errno` ENOMEM), or what the text says."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text)
        self.errno = number


@dataclass(slots=True, eq=False)
class _Journaled:
    """A chunk that is in the journal. `arrived`: which of its pages have moved. `windows`: number of unfinished
    windows. `has_tails`: some are tail pages of huge pages. `unsure`: calls with an unknown result."""

    chunk: Chunk
    number: int
    arrived: NDArray[np.bool_]
    windows: int
    has_tails: bool
    unsure: int = 0


@dataclass(slots=True, eq=False)
class _Called:
    """One call: what it was asked for, and its answers. `took`: nanoseconds; `arrived`: which pages are on the target,
    `moved`: how many."""

    wanted: Addresses
    status: Statuses
    gave_up: GaveUp | None
    took: int
    arrived: NDArray[np.bool_]
    moved: int

    @property
    def all_moved(self) -> bool:
        return self.moved == len(self.wanted)


class PageMover:
    """The calls of one job. `run.check` is called right before every call, by any worker; `run.held.check_program`
    before every chunk; `run.report` gets the nanoseconds of each call that moved something."""

    def __init__(self, run: PartRun) -> None:
        kernel, options = run.kernel, run.options
        self.kernel, self.pid, self.options, self.limit = kernel, run.held.pid, options, run.limit
        self.journal, self.progress, self.cancel = run.journal, run.progress, run.cancel
        self.check, self.report, self.check_program = run.check, run.report, run.held.check_program
        self.verifier = run.verifier
        self.frames, self.balancing, self.huge = run.pages.frames, balancing(kernel), huge_page_size(kernel)
        self.part, self.move_all = run.part, run.move_all
        self.largest = self.limit.largest(_LARGEST)
        self.batch = min(_FIRST, self.largest)
        """Bytes."""
        self.hidden = 0
        """Bytes that NUMA balancing hid from the calls."""
        self.most_workers = 1
        self._queued = 0
        self._open: list[_Journaled] = []
        self._pool = WorkerPool(self._window, self._workers(), allowed_cpus(kernel), kernel.clock)

    def _workers(self) -> int | None:
        """Threads for WorkerPool; None: it chooses. 0 if calls cannot run in parallel: submit() does the work."""
        if self.options.workers is not None:
            return self.options.workers if self.options.workers > 1 or self.kernel.traits.parallel_calls else 0
        return None if self.kernel.traits.parallel_calls else 0

    def carry(self, chunks: Iterable[Chunk]) -> None:
        """Move all pages of the chunks. Finishes what is queued before it raises: GaveUp (no room on the target, or the
        call was refused), NotFound, NotPermitted, or what `check` raises."""
        errors: list[BaseException] = []
        try:
            for chunk in gathered(chunks, self._enough):
                self._chunk(chunk)
                self._note_finished()
        except BaseException as exc:
            errors.append(exc)
        while True:
            try:
                self._pool.join()
                break
            except BaseException as exc:
                errors.append(exc)
        try:
            self._note_finished(at_end=True)
        except NumatuiError as exc:
            errors.append(exc)
        self._open.clear()
        others = [one for one in errors if not isinstance(one, GaveUp)]
        if errors and not others:
            self.check()  # a cancel, or the end of the process, is not taken for want of room
        if errors:
            raise (others or errors)[0]

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def _wide(self) -> int:
        """Bytes of the next window."""
        rest = (self.progress.total - self._queued) // (2 * self._pool.workers)
        return min(self.largest, max(_WINDOW, min(self._queued // _SHARE, rest)))

    def _enough(self) -> int:
        """Bytes of the next chunk of the journal."""
        return self._wide() * _PER_CHUNK

    def _chunk(self, chunk: Chunk) -> None:
        """Journal a chunk and queue its windows. Neither a chunk nor a batch cuts a transparent huge page in two: the
        kernel moves it whole, so all its pages must be in one call, and in the journal before."""
        self.check()
        self.check_program()
        addresses, size = chunk.addresses, chunk.page_size
        window = max(1, self._wide() // size)
        ends: list[int] = []
        position = 0
        while position < len(addresses):
            position = end_of_window(addresses, position + window, self.huge)
            ends.append(position)
        number = self.journal.before(self.part, chunk.move, size, addresses, self.move_all)
        journaled = _Journaled(chunk, number, np.zeros(len(addresses), np.bool_), len(ends), bool(chunk.thp_tail.any()))
        self._open.append(journaled)
        self._queued += len(addresses) * size
        for start, end in zip([0, *ends], ends, strict=False):
            self._pool.submit((journaled, start, end))

    def _window(self, piece: tuple[_Journaled, int, int]) -> int:
        journaled, position, end = piece
        addresses, size = journaled.chunk.addresses, journaled.chunk.page_size
        amount = (end - position) * size
        try:
            while position < end:
                full = max(1, self.batch // size)
                stop = min(end, end_of_window(addresses, position + full, self.huge))
                self._batch(journaled, position, stop, may_grow=stop - position >= full)
                with self.progress.lock:
                    self.progress.done += (stop - position) * size
                position = stop
        finally:
            with self.progress.lock:
                self.most_workers = max(self.most_workers, self._pool.workers)
                journaled.windows -= 1
        return amount

    def _note_finished(self, at_end: bool = False) -> None:
        """Write to the journal which pages of the finished chunks have moved, if all results are known, and read again
        where they are. The workers do not wait for it. `at_end`: no worker works any more."""
        for journaled in [one for one in self._open if at_end or not one.windows]:
            self._open.remove(journaled)
            if not journaled.unsure:
                self.journal.after(journaled.number, ~journaled.arrived)
            self.verifier.look(journaled.chunk)

    def _batch(self, journaled: _Journaled, start: int, stop: int, may_grow: bool) -> None:
        """Move pages until each has moved or has a reason. A call that gives up part-way is followed by another for the
        pages that it did not reach. A call without progress gave up at its first page."""
        at: _At = slice(start, stop)
        thp_tail = journaled.chunk.thp_tail[start:stop] if journaled.has_tails else None
        page_size = journaled.chunk.page_size
        stuck = 0
        while True:
            called = self._call(journaled, at, thp_tail)
            again = None if called.all_moved else self._classify(journaled.chunk, called, thp_tail)
            self._account(journaled, at, called, again)
            if may_grow or called.took > self.options.budget:
                self._adapt(called.took, len(called.wanted) * page_size)
            self.limit.spend(called.moved * page_size, self.cancel)
            if called.gave_up:
                raise called.gave_up
            if again is None or not again.any():
                return
            left = np.arange(start, stop)[again] if isinstance(at, slice) else at[again]
            if again.all():
                stuck += 1
                first = 1 if stuck < _STUCK else len(left)
                self.progress.record_unmoved("busy", page_size * first)
                left = left[first:]
                if not len(left):
                    return
            at, thp_tail = left, None

    def _call(self, journaled: _Journaled, at: _At, thp_tail: NDArray[np.bool_] | None) -> _Called:
        """One call for the pages at these positions of the chunk. It leaves out tail pages of transparent huge pages:
        they move with their head. `thp_tail`: None if there are none, which costs less."""
        wanted = journaled.chunk.addresses[at]
        self.check()
        with self.progress.lock:
            journaled.unsure += 1
        began = self.kernel.clock()
        status, gave_up = self._move(wanted, thp_tail, journaled.chunk.move.target)
        took = self.kernel.clock() - began
        arrived = status == journaled.chunk.move.target
        return _Called(wanted, status, gave_up, took, arrived, int(np.count_nonzero(arrived)))

    def _classify(self, chunk: Chunk, called: _Called, thp_tail: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Complete the answers: pages that the call did not reach, and tail pages, are located. Returns which pages are
        to be tried again."""
        wanted, status, move = called.wanted, called.status, chunk.move
        if thp_tail is not None:
            status[thp_tail] = self._found(wanted[thp_tail])
        untold = status == UNTOUCHED
        if untold.any():
            status[untold] = self._where(wanted[untold])
        self._look_again(wanted, status, move.target)
        called.arrived = status == move.target
        called.moved = int(np.count_nonzero(called.arrived))
        return (untold if thp_tail is None else untold | thp_tail) & (status == move.source)

    def _account(self, journaled: _Journaled, at: _At, called: _Called, again: NDArray[np.bool_] | None) -> None:
        """Note what moved, and the reason of what did not and is not tried again."""
        page_size = journaled.chunk.page_size
        if called.all_moved:
            journaled.arrived[at] = True
        else:
            journaled.arrived[at] |= called.arrived
        with self.progress.lock:
            journaled.unsure -= 1
            self.progress.moved += called.moved * page_size
            self.progress.workers = self._pool.workers
        if again is not None and (out := ~(called.arrived | again)).any():
            self._leave(called.wanted[out], called.status[out], page_size)
        self.report(called.took)

    def _look_again(self, wanted: Addresses, status: Statuses, target: int) -> None:
        """Correct the statuses of pages that moved with another page of the same huge page. do_pages_move() isolates a
        huge page once: further small pages of a transparent huge page answer EBUSY, those of a hugetlb page EACCES.
        Those that are on the target have moved."""
        for number in (errno.EBUSY, errno.EACCES):
            doubtful = status == -number
            if doubtful.any():
                status[doubtful] = np.where(self._where(wanted[doubtful]) == target, target, -number)

    def _where(self, addresses: Addresses) -> Statuses:
        return query(self.kernel, self.pid, addresses, self.check)

    def _found(self, tails: Addresses) -> Statuses:
        """Nodes of tail pages, by their frames if these are readable."""
        try:
            nodes = PageMap(self.kernel, self.pid, self.frames).nodes(tails)
        except OSError as exc:
            raise process_error(self.kernel, self.pid, exc) from None
        return self._where(tails) if nodes is None else np.where(nodes < 0, np.int32(-errno.ENOENT), nodes)

    def _move(
        self, addresses: Addresses, thp_tail: NDArray[np.bool_] | None, target: int
    ) -> tuple[Statuses, GaveUp | None]:
        """Returns (statuses, why the kernel gave up or None)."""
        flags = int(MoveFlag.MOVE_ALL if self.move_all else MoveFlag.MOVE)
        if thp_tail is not None:
            status = np.full(len(addresses), UNTOUCHED, np.int32)
            status[~thp_tail], problem = call_move_pages(self.kernel, self.pid, addresses[~thp_tail], target, flags)
        else:
            status, problem = call_move_pages(self.kernel, self.pid, addresses, target, flags)
        if problem is None:
            return status, None
        if problem.errno == errno.ENOMEM:
            return status, GaveUp(errno.ENOMEM)
        if problem.errno == errno.EINVAL:
            self.check()
        if problem.errno in (errno.ESRCH, errno.EPERM):
            raise process_error(self.kernel, self.pid, problem)
        return status, GaveUp(problem.errno or 0, refusal(self.kernel, "move_pages", problem, NodeSet([target])))

    def _leave(self, addresses: Addresses, status: Statuses, page_size: int) -> None:
        codes, counts = np.unique(status, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            if code not in (-errno.ENOENT, -errno.EFAULT):
                self.progress.record_unmoved(reason_of(code), count * page_size)
                continue
            hidden = self._hidden(addresses[status == code]) * page_size
            self.progress.record_unmoved("hidden", hidden)
            self.progress.record_unmoved("gone", count * page_size - hidden)
            with self.progress.lock:
                self.hidden += hidden

    def _hidden(self, addresses: Addresses) -> int:
        """Number of these pages that are resident although move_pages does not find them: they await a NUMA hinting
        fault (ENOENT; EFAULT for transparent huge pages, from no_page_table())."""
        try:
            return int(np.count_nonzero(PageMap(self.kernel, self.pid, None).resident(addresses)))
        except OSError:
            return len(addresses) if self.balancing else 0

    def _adapt(self, took: int, amount: int) -> None:
        if took > self.options.budget:
            self.batch = max(min(_SMALLEST, self.largest), min(self.batch, amount) // 2)
        elif took * 2 < self.options.budget:
            self.batch = min(self.largest, self.batch * 2)


def end_of_window(addresses: Addresses, end: int, huge: int) -> int:
    """The first position at or after `end` that does not cut a transparent huge page of `huge` bytes in two."""
    if end >= len(addresses):
        return len(addresses)
    last = int(addresses[end - 1]) | (huge - 1)
    return int(np.searchsorted(addresses, np.uint64(last), side="right"))


def reason_of(code: int) -> Reason:
    """The reason for a status that is not the target node (move_pages(2))."""
    if code >= 0 or code in (UNTOUCHED, -errno.EBUSY, -errno.EAGAIN):
        return "busy"
    reasons: dict[int, Reason] = {
        -errno.EACCES: "shared",
        -errno.ENOMEM: "no-room",
        -errno.EPERM: "refused",
        -errno.ENODEV: "refused",
    }
    return reasons.get(code, "unmovable")
