"""Carry out a plan for one process: in batches, journaled ahead, cancellable, verified by reading again."""

from __future__ import annotations

import errno
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, describe_oserror
from backend.journal import Journal, runs_of, state_dir
from backend.kernel import Kernel, MoveFlag
from backend.nodeset import NodeSet
from backend.placement import Placement, Vma, read_placement
from backend.plan import Method, Plan, remaining
from backend.process import Identity, Process, process_error, read_stat
from backend.remap import Move
from backend.resident import Addresses, resident_addresses

Reason = Literal[
    "shared", "busy", "no-room", "gone", "hidden", "unmovable", "process-ended", "cancelled", "refused"
]
REASONS: dict[Reason, str] = {
    "shared": "mapped by other processes too (--all moves them)",
    "busy": "held by somebody: I/O, a pipe, a device",
    "no-room": "no room on the target node",
    "gone": "unmapped or swapped out meanwhile",
    "hidden": "hidden from move_pages by NUMA balancing",
    "unmovable": "the kernel cannot move them",
    "process-ended": "the process ended meanwhile",
    "cancelled": "cancelled",
    "refused": "the kernel refused",
}
_UNTOUCHED = -(1 << 30)
_HUGE = 2 << 20
_SMALLEST, _LARGEST, _FIRST = 64, 8192, 512
_STUCK = 16
"""Calls without progress on one batch after which all the rest of it counts as busy."""

Statuses = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Options:
    """`budget`: nanoseconds that one call should take at most; batches adapt to it. `max_rate`: bytes a second, 0 for
    no limit. `move_all`: also pages that others map (MPOL_MF_MOVE_ALL)."""

    method: Method = "auto"
    budget: int = 5_000_000
    max_rate: int = 0
    move_all: bool = False
    journal_dir: Path | None = None


@dataclass(slots=True)
class Progress:
    """How far a job is. Bytes; nanoseconds of the kernel's clock. `left`: bytes by reason, so far."""

    total: int
    done: int = 0
    moved: int = 0
    elapsed: int = 0
    worst_call: int = 0
    left: dict[Reason, int] = field(default_factory=dict[Reason, int])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one process's job. `moved` and `left` are bytes; `before` and `after` bytes by node, both read
    from the kernel independently of what its calls answered (`after` is empty when the process has ended)."""

    job: str
    process: Process
    method: Literal["move_pages", "migrate_pages", "move_pages+migrate_pages"]
    before: dict[int, int]
    after: dict[int, int]
    moved: int
    left: dict[Reason, int]
    elapsed: int
    worst_call: int
    cancelled: bool = False
    error: str = ""

    @property
    def complete(self) -> bool:
        return not self.left and not self.cancelled and not self.error


def still_the_same(kernel: Kernel, identity: Identity) -> None:
    """Raises NotFound when the process has ended (also when its parent has not collected it yet: it has no memory any
    more) or its pid belongs to another now."""
    stat = read_stat(kernel, identity.pid)
    if stat.identity == identity and stat.has_ended:
        raise NotFound(f"process {identity.pid} has ended", "its memory went with it")
    if stat.identity != identity:
        raise NotFound(
            f"process {identity.pid} has ended and another has its number now",
            "nothing was done to it: look at numatui ps",
        )


def migrate_process(
    kernel: Kernel,
    plan: Plan,
    process: Process,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Move the pages of one process of `plan`. Returns what happened, also when part of it could not be done.

    Raises NotFound, NotPermitted, NotSupported, NumatuiError (journal) before anything moved.
    """
    job = _Job(kernel, plan, process, options or Options(), on_progress, cancel or threading.Event())
    return job.run()


class _Cancelled(Exception):
    pass


class _Full(Exception):
    """The kernel gave up on this move: no room on the target, or `error` says what."""


class _Job:
    def __init__(
        self, kernel: Kernel, plan: Plan, process: Process, options: Options,
        on_progress: Callable[[Progress], None], cancel: threading.Event,
    ) -> None:  # fmt: skip
        self.kernel, self.plan, self.process, self.options = kernel, plan, process, options
        self.on_progress, self.cancel = on_progress, cancel
        self.pid = process.identity.pid
        self.batch = _FIRST
        self.used: set[str] = set()
        self.pidfd = -1
        self.started = 0
        self.error = ""
        self.gave_up = False

    def run(self) -> Outcome:
        if self.process.is_kernel_thread:
            raise NotSupported(
                f"{self.pid} is a kernel thread: it has no memory of its own", "choose a process"
            )
        method = self._method()
        self._hold()
        try:
            still_the_same(self.kernel, self.process.identity)
            before = read_placement(self.kernel, self.pid, with_maps=True)
            total = _on_sources(before, self.plan.moves)
            self.progress = Progress(total)
            self.journal = Journal(
                self.options.journal_dir or state_dir(),
                {
                    "source": self.kernel.source,
                    "pid": self.pid,
                    "start_time": self.process.identity.start_time,
                    "method": method,
                    "moves": [[move.source, move.target] for move in self.plan.moves],
                    "before": before.bytes_by_node,
                },
            )
            return self._journaled(method, before)
        finally:
            if self.pidfd >= 0:
                self.kernel.pidfd_close(self.pidfd)

    def _method(self) -> Literal["move_pages", "migrate_pages"]:
        can = self.kernel.capabilities()
        wanted = self.options.method
        if wanted == "auto":
            wanted = "move_pages" if can["move_pages"].available else "migrate_pages"
        if not can[wanted].available:
            raise NotSupported(
                f"{wanted} is not to be had here: {can[wanted].why}", "numatui doctor tells what is"
            )
        if self.options.move_all and not can["move_all"].available:
            raise NotPermitted(f"--all is not to be had here: {can['move_all'].why}", "leave it out")
        return wanted

    def _hold(self) -> None:
        if self.kernel.capabilities()["pidfd"].available:
            try:
                self.pidfd = self.kernel.pidfd_open(self.pid)
            except OSError as exc:
                raise process_error(self.kernel, self.pid, exc) from None

    def _journaled(self, method: Literal["move_pages", "migrate_pages"], before: Placement) -> Outcome:
        self.started = self.kernel.clock()
        cancelled = False
        try:
            try:
                if method == "move_pages":
                    self._by_move_pages(before)
                else:
                    self._by_migrate_pages(before)
            except _Cancelled:
                cancelled = True
            except NumatuiError as exc:
                self.error = str(exc)
            outcome = self._outcome(before, cancelled)
        except BaseException:
            with suppress(NumatuiError):
                self.journal.end("failed", moved=self.progress.moved, left=self.progress.left)
            raise
        how = "cancelled" if cancelled else "done" if outcome.complete else "partly"
        try:
            self.journal.end(how, moved=outcome.moved, left=outcome.left, error=outcome.error)
        except NumatuiError as exc:
            return replace(outcome, error=outcome.error or str(exc))
        return outcome

    def _check(self) -> None:
        """Right before every call: not cancelled, and still the process that was meant."""
        if self.cancel.is_set():
            raise _Cancelled
        if self.pidfd >= 0 and not self.kernel.pidfd_alive(self.pidfd):
            raise NotFound(
                f"process {self.pid} ended while its pages were moved", "what had moved went with it"
            )
        still_the_same(self.kernel, self.process.identity)

    def _by_move_pages(self, before: Placement) -> None:
        self.used.add("move_pages")
        hidden = 0
        for move in self.plan.moves:
            try:
                for vma in before.vmas:
                    if vma.pages.get(move.source) and vma.end:
                        hidden += self._move_vma(vma, move)
            except _Full:
                self.gave_up = True
        if hidden and self.options.method == "auto" and self.kernel.capabilities()["migrate_pages"].available:
            self.progress.left.pop("hidden", None)
            self._by_migrate_pages(before)

    def _move_vma(self, vma: Vma, move: Move) -> int:
        hidden = 0
        try:
            for chunk in resident_addresses(self.kernel, self.pid, vma):
                position = 0
                while position < len(chunk):
                    end = _end_of_window(chunk, position + self.batch)
                    hidden += self._move_window(vma, move, chunk[position:end])
                    position = end
        except OSError as exc:
            raise process_error(self.kernel, self.pid, exc) from None
        return hidden

    def _move_window(self, vma: Vma, move: Move, addresses: Addresses) -> int:
        """Of a window of resident pages those on the source node, a batch a call. Returns how many were hidden.

        A batch may take along pages of the next ones, when a huge page spans them: the kernel then answers that those
        are on the target, and they count as moved because they were not at first.
        """
        self._check()
        where = self._where(addresses)
        hidden = int(np.count_nonzero(where == -errno.ENOENT))
        if hidden:
            self._left("hidden", hidden * vma.page_size)
        wanted = addresses[where == move.source]
        position = 0
        while position < len(wanted):
            full = self.batch
            batch = wanted[position : position + full]
            self.journal.before(move, vma.page_size, runs_of(batch.tolist(), vma.page_size))
            began = self.progress.moved
            self._move_exactly(batch, move, vma.page_size, may_grow=len(batch) == full)
            self.journal.after((self.progress.moved - began) // vma.page_size)
            self.progress.done += len(batch) * vma.page_size
            position += len(batch)
        return hidden

    def _move_exactly(self, wanted: Addresses, move: Move, page_size: int, may_grow: bool) -> None:
        """Move pages until each has moved or has a reason. A call that gives up part-way leaves statuses untouched:
        then the kernel is asked where the pages are, and those still on the source are tried again. A call without any
        progress gave up at its first page."""
        stuck = 0
        while len(wanted):
            self._check()
            began = self.kernel.clock()
            status, gave_up = self._move_pages(wanted, array("i", [move.target]) * len(wanted))
            took = self.kernel.clock() - began
            untouched = status == _UNTOUCHED
            if untouched.any():
                status[untouched] = self._where(wanted[untouched])
            self._look_again_at_huge_pages(wanted, status, move.target)
            again = untouched & (status == move.source)
            moved = int(np.count_nonzero(status == move.target))
            self.progress.moved += moved * page_size
            self._count_left(status[(status != move.target) & ~again], page_size)
            self._report(took)
            if may_grow or took > self.options.budget:
                self._adapt(took, len(wanted))
            if again.all():
                stuck += 1
                self._left("busy", page_size if stuck < _STUCK else len(wanted) * page_size)
                wanted = wanted[1:] if stuck < _STUCK else wanted[:0]
            else:
                wanted = wanted[again]
            if gave_up and len(wanted):
                raise _Full

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
        flags = MoveFlag.MOVE_ALL if self.options.move_all else MoveFlag.MOVE
        full = False
        try:
            self.kernel.move_pages(self.pid, pages, nodes, status, int(flags))
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                still_the_same(self.kernel, self.process.identity)
            if exc.errno == errno.ENOMEM:
                full = True
            elif exc.errno in (errno.ESRCH, errno.EPERM) or nodes is None:
                raise process_error(self.kernel, self.pid, exc) from None
            else:
                self.error = f"move_pages: {describe_oserror(exc)}"
                raise _Full from None
        return np.array(status, dtype=np.int32), full

    def _count_left(self, status: Statuses, page_size: int) -> None:
        codes, counts = np.unique(status, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self._left(_reason(code), count * page_size)

    def _left(self, reason: Reason, amount: int) -> None:
        self.progress.left[reason] = self.progress.left.get(reason, 0) + amount

    def _adapt(self, took: int, pages: int) -> None:
        if took > self.options.budget:
            self.batch = max(_SMALLEST, min(self.batch, pages) // 2)
        elif took * 2 < self.options.budget:
            self.batch = min(_LARGEST, self.batch * 2)

    def _report(self, took: int) -> None:
        progress = self.progress
        progress.worst_call = max(progress.worst_call, took)
        if self.options.max_rate:
            due = self.started + progress.moved * 1_000_000_000 // self.options.max_rate
            if (early := due - self.kernel.clock()) > 0:
                self.kernel.pause(early)
        progress.elapsed = self.kernel.clock() - self.started
        self.on_progress(progress)

    def _by_migrate_pages(self, before: Placement) -> None:
        self.used.add("migrate_pages")
        sources, targets, moves = self.plan.sources, self.plan.targets, self.plan.moves
        for move in moves:
            runs = [(vma.start, vma.pages[move.source]) for vma in before.vmas if vma.pages.get(move.source)]
            if runs:
                self.journal.before(move, 0, runs)
        self._check()
        bits = max(len(sources.mask()), len(targets.mask())) * 8
        began = self.kernel.clock()
        not_moved: int | None = None
        try:
            not_moved = self.kernel.migrate_pages(
                self.pid, sources.maxnode(bits), sources.mask(bits), targets.mask(bits)
            )
        except OSError as exc:
            if exc.errno in (errno.ESRCH, errno.EPERM):
                raise process_error(self.kernel, self.pid, exc) from None
            if exc.errno != errno.ENOMEM:
                still_the_same(self.kernel, self.process.identity)
                self.error = f"migrate_pages: {describe_oserror(exc)}"
        took = self.kernel.clock() - began
        now = read_placement(self.kernel, self.pid)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, moves)
        self.progress.moved = max(0, self.progress.total - rest)
        self.progress.done = self.progress.total
        self.journal.after(self.progress.moved // self.kernel.page_size)
        self.progress.left.clear()
        if rest:
            self._explain(now, rest, not_moved)
        self._report(took)

    def _explain(self, now: Placement, rest: int, not_moved: int | None) -> None:
        """migrate_pages gives no reasons: what is shared is seen, what it counted was busy."""
        if not_moved is None:
            self._left("refused" if self.error else "no-room", rest)
            return
        shared = min(
            rest, sum(_on_sources(Placement((vma,)), self.plan.moves) for vma in now.vmas if vma.mapmax > 1)
        )
        busy = min(rest - shared, not_moved * self.kernel.page_size)
        reasons: tuple[tuple[Reason, int], ...] = (
            ("shared", shared),
            ("busy", busy),
            ("unmovable", rest - shared - busy),
        )
        for reason, amount in reasons:
            if amount:
                self._left(reason, amount)

    def _outcome(self, before: Placement, cancelled: bool) -> Outcome:
        after: dict[int, int] = {}
        try:
            still_the_same(self.kernel, self.process.identity)
            after = read_placement(self.kernel, self.pid).bytes_by_node
        except (NotFound, NotPermitted) as exc:
            self.error = self.error or str(exc)
            self.progress.left.clear()
            self._left("process-ended", max(0, self.progress.total - self.progress.moved))
        progress = self.progress
        rest = remaining(before.bytes_by_node, after, self.plan.moves) if after else 0
        if hidden := progress.left.get("hidden", 0):
            progress.left["hidden"] = max(0, min(hidden, rest - sum(progress.left.values()) + hidden))
        if self.gave_up:
            self._left("refused" if self.error else "no-room", max(0, rest - sum(progress.left.values())))
        if cancelled:
            self._left("cancelled", max(0, progress.total - progress.moved - sum(progress.left.values())))
        progress.elapsed = self.kernel.clock() - self.started
        method = "+".join(sorted(self.used, reverse=True)) or "move_pages"
        assert method in ("move_pages", "migrate_pages", "move_pages+migrate_pages")
        return Outcome(
            job=self.journal.job,
            process=self.process,
            method=method,
            before=before.bytes_by_node,
            after=after,
            moved=progress.moved,
            left={reason: amount for reason, amount in progress.left.items() if amount},
            elapsed=progress.elapsed,
            worst_call=progress.worst_call,
            cancelled=cancelled,
            error=self.error,
        )


def _end_of_window(addresses: Addresses, end: int) -> int:
    """The position from `end` on where no transparent huge page is cut in two."""
    if end >= len(addresses):
        return len(addresses)
    last = int(addresses[end - 1]) | (_HUGE - 1)
    return int(np.searchsorted(addresses, np.uint64(last), side="right"))


def _on_sources(placement: Placement, moves: tuple[Move, ...]) -> int:
    sources = NodeSet(move.source for move in moves)
    by_node = placement.bytes_by_node
    return sum(by_node.get(node, 0) for node in sources)


def _reason(code: int) -> Reason:
    if code >= 0 or code in (_UNTOUCHED, -errno.EBUSY, -errno.EAGAIN):
        return "busy"
    reasons: dict[int, Reason] = {
        -errno.EACCES: "shared",
        -errno.ENOMEM: "no-room",
        -errno.ENOENT: "gone",
        -errno.EFAULT: "gone",
        -errno.EPERM: "refused",
        -errno.ENODEV: "refused",
    }
    return reasons.get(code, "unmovable")
