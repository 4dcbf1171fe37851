"""Moving the pages of one mapping by move_pages(2): batch after batch, each journaled ahead, until every page has moved or
has a reason."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backend.errors import describe_oserror
from backend.journal import Journal, runs_of
from backend.kernel import Kernel, MoveFlag
from backend.migrate import GaveUp, Options, Progress, Reason
from backend.placement import Vma
from backend.process import process_error
from backend.remap import Move
from backend.resident import Addresses, resident_addresses

Statuses = NDArray[np.int32]

_UNTOUCHED = -(1 << 30)
_HUGE = 2 << 20
_SMALLEST, _FIRST, _LARGEST = 256 << 10, 2 << 20, 32 << 20
"""Bytes of a batch."""
_STUCK = 16
"""Calls without progress on one batch after which all the rest of it counts as busy."""
_RATE_SLICE = 10
"""With a rate limit a batch is at most this part of a second's worth."""


class PageMover:
    """One job's calls. `check`: raises when the job is cancelled or the process is no longer the one that was meant;
    called right before every call. `report`: told the nanoseconds of each call that moved something.
    """

    def __init__(
        self, kernel: Kernel, pid: int, options: Options, journal: Journal, progress: Progress,
        check: Callable[[], None], report: Callable[[int], None], balancing: bool,
    ) -> None:  # fmt: skip
        self.kernel, self.pid, self.options = kernel, pid, options
        self.journal, self.progress = journal, progress
        self.check, self.report = check, report
        self.balancing = balancing
        self.flags = int(MoveFlag.MOVE_ALL if options.move_all else MoveFlag.MOVE)
        self.largest = _LARGEST
        if options.max_rate:
            self.largest = max(1, min(_LARGEST, options.max_rate // _RATE_SLICE))
        self.batch = min(_FIRST, self.largest)
        """Bytes."""

    def move_vma(self, vma: Vma, move: Move) -> int:
        """All pages of a mapping that are on the source node. Returns how many bytes were hidden by NUMA balancing.

        Raises GaveUp (no room on the target, or the call was refused), NotFound, NotPermitted, what `check` raises.
        """
        hidden = 0
        try:
            for chunk in resident_addresses(self.kernel, self.pid, vma):
                position = 0
                while position < len(chunk):
                    end = end_of_window(chunk, position + self._pages(vma))
                    hidden += self._move_window(vma, move, chunk[position:end])
                    position = end
        except OSError as exc:
            raise process_error(self.kernel, self.pid, exc) from None
        return hidden

    def _pages(self, vma: Vma) -> int:
        return max(1, self.batch // vma.page_size)

    def _move_window(self, vma: Vma, move: Move, addresses: Addresses) -> int:
        """Of a window of resident pages those on the source node. Neither a window nor a batch cuts a transparent huge
        page in two: the kernel moves it whole, so all of it has to be asked for and journaled before."""
        self.check()
        where = self._where(addresses)
        hidden = int(np.count_nonzero(where == -errno.ENOENT)) * vma.page_size
        if hidden:
            self.progress.leave("hidden", hidden)
        wanted = addresses[where == move.source]
        position = 0
        while position < len(wanted):
            full = self._pages(vma)
            end = end_of_window(wanted, position + full)
            batch = wanted[position:end]
            self.journal.before(move, vma.page_size, runs_of(batch.tolist(), vma.page_size))
            began = self.progress.moved
            hidden += self._move_exactly(batch, move, vma.page_size, may_grow=len(batch) >= full)
            self.journal.after((self.progress.moved - began) // vma.page_size)
            self.progress.done += len(batch) * vma.page_size
            position = end
        return hidden

    def _move_exactly(self, wanted: Addresses, move: Move, page_size: int, may_grow: bool) -> int:
        """Move pages until each has moved or has a reason. A call that gives up part-way leaves statuses untouched:
        then the kernel is asked where the pages are, and those still on the source are tried again. A call without any
        progress gave up at its first page. Returns the bytes that became hidden."""
        stuck = hidden = 0
        while len(wanted):
            self.check()
            began = self.kernel.clock()
            status, full = self._move_pages(wanted, array("i", [move.target]) * len(wanted))
            took = self.kernel.clock() - began
            untouched = status == _UNTOUCHED
            if untouched.any():
                status[untouched] = self._where(wanted[untouched])
            self._look_again_at_huge_pages(wanted, status, move.target)
            again = untouched & (status == move.source)
            self.progress.moved += int(np.count_nonzero(status == move.target)) * page_size
            hidden += self._leave(status[(status != move.target) & ~again], page_size)
            self.report(took)
            if may_grow or took > self.options.budget:
                self._adapt(took, len(wanted) * page_size)
            if full:
                raise GaveUp
            if again.all():
                stuck += 1
                self.progress.leave("busy", page_size if stuck < _STUCK else len(wanted) * page_size)
                wanted = wanted[1:] if stuck < _STUCK else wanted[:0]
            else:
                wanted = wanted[again]
        return hidden

    def _look_again_at_huge_pages(self, wanted: Addresses, status: Statuses, target: int) -> None:
        """The second small page of a transparent huge page answers EBUSY because the first has taken the whole along
        (do_pages_move() isolates it, then cannot isolate it again): those that are there now have moved."""
        busy = status == -errno.EBUSY
        if busy.any():
            status[busy] = np.where(self._where(wanted[busy]) == target, target, -errno.EBUSY)

    def _where(self, addresses: Addresses) -> Statuses:
        return self._move_pages(addresses, None)[0]

    def _move_pages(self, addresses: Addresses, nodes: array[int] | None) -> tuple[Statuses, bool]:
        """(statuses, `_UNTOUCHED` where the kernel wrote none; whether the target had no room)."""
        pages = array("Q", addresses.tobytes())
        status = array("i", [_UNTOUCHED]) * len(pages)
        full = False
        try:
            self.kernel.move_pages(self.pid, pages, nodes, status, self.flags)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                self.check()
            if exc.errno == errno.ENOMEM:
                full = True
            elif exc.errno in (errno.ESRCH, errno.EPERM) or nodes is None:
                raise process_error(self.kernel, self.pid, exc) from None
            else:
                raise GaveUp(f"move_pages: {describe_oserror(exc)}") from None
        return np.array(status, dtype=np.int32), full

    def _leave(self, status: Statuses, page_size: int) -> int:
        hidden = 0
        codes, counts = np.unique(status, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            reason = _reason(code, self.balancing)
            self.progress.leave(reason, count * page_size)
            if reason == "hidden":
                hidden += count * page_size
        return hidden

    def _adapt(self, took: int, amount: int) -> None:
        if took > self.options.budget:
            self.batch = max(min(_SMALLEST, self.largest), min(self.batch, amount) // 2)
        elif took * 2 < self.options.budget:
            self.batch = min(self.largest, self.batch * 2)


def end_of_window(addresses: Addresses, end: int) -> int:
    """The position from `end` on where no transparent huge page is cut in two."""
    if end >= len(addresses):
        return len(addresses)
    last = int(addresses[end - 1]) | (_HUGE - 1)
    return int(np.searchsorted(addresses, np.uint64(last), side="right"))


def _reason(code: int, balancing: bool) -> Reason:
    if code >= 0 or code in (_UNTOUCHED, -errno.EBUSY, -errno.EAGAIN):
        return "busy"
    reasons: dict[int, Reason] = {
        -errno.EACCES: "shared",
        -errno.ENOMEM: "no-room",
        -errno.ENOENT: "hidden" if balancing else "gone",
        -errno.EFAULT: "gone",
        -errno.EPERM: "refused",
        -errno.ENODEV: "refused",
    }
    return reasons.get(code, "unmovable")
