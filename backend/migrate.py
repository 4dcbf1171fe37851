"""Carry out a plan for one process: in batches, journaled ahead, cancellable, verified by reading again."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, describe_oserror
from backend.facts import balancing
from backend.journal import Journal, state_dir
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.placement import Placement, read_placement
from backend.plan import Method, Plan, remaining
from backend.process import Identity, Process, process_error, read_stat
from backend.remap import Move

Reason = Literal[
    "shared", "busy", "no-room", "gone", "hidden", "unmovable", "returned", "unlocated",
    "process-ended", "cancelled", "stopped", "refused",
]  # fmt: skip
REASONS: dict[Reason, str] = {
    "shared": "mapped by other processes too (--all moves them)",
    "busy": "held by somebody: I/O, a pipe, a device",
    "no-room": "no room on the target node",
    "gone": "unmapped or swapped out meanwhile",
    "hidden": "hidden from move_pages by NUMA balancing",
    "unmovable": "the kernel cannot move them",
    "returned": "on a source node again: something else moved them back",
    "unlocated": "their mapping changed while it was read",
    "process-ended": "the process ended meanwhile",
    "cancelled": "not come to before it was cancelled",
    "stopped": "not come to before the job stopped",
    "refused": "the kernel refused",
}
_PAUSE = 100_000_000
"""The longest that a rate limit is waited for without looking whether the job was cancelled, in nanoseconds."""


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

    def leave(self, reason: Reason, amount: int) -> None:
        """So many bytes do not move, for this reason."""
        if amount > 0:
            self.left[reason] = self.left.get(reason, 0) + amount


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one process's job. `moved` and `left` are bytes; `before` and `after` bytes by node, both read
    from the kernel independently of what its calls answered (`after` is empty when the process has ended). `appeared`:
    bytes that are new on source nodes since the start, allocated by the process meanwhile."""

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
    appeared: int = 0

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


class GaveUp(Exception):
    """The kernel gave up on a move: no room on the target, or what the text says."""


class _Job:
    def __init__(
        self, kernel: Kernel, plan: Plan, process: Process, options: Options,
        on_progress: Callable[[Progress], None], cancel: threading.Event,
    ) -> None:  # fmt: skip
        self.kernel, self.plan, self.process, self.options = kernel, plan, process, options
        self.on_progress, self.cancel = on_progress, cancel
        self.pid = process.identity.pid
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
            before = self._located()
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

    def _located(self) -> Placement:
        """The placement with the ends of all mappings: read again once where a mapping changed between the two files."""
        before = read_placement(self.kernel, self.pid, with_maps=True)
        if self._unlocated(before):
            before = read_placement(self.kernel, self.pid, with_maps=True)
        return before

    def _unlocated(self, placement: Placement) -> int:
        return _on_sources(Placement(tuple(vma for vma in placement.vmas if not vma.end)), self.plan.moves)

    def _by_move_pages(self, before: Placement) -> None:
        from backend.page_batches import PageMover

        self.used.add("move_pages")
        self.progress.leave("unlocated", self._unlocated(before))
        mover = PageMover(
            self.kernel,
            self.pid,
            self.options,
            self.journal,
            self.progress,
            self._check,
            self._report,
            balancing(self.kernel),
        )
        for move in self.plan.moves:
            hidden = 0
            explained = sum(self.progress.left.values())
            try:
                for vma in before.vmas:
                    if vma.pages.get(move.source) and vma.end:
                        hidden += mover.move_vma(vma, move)
            except GaveUp as exc:
                self.gave_up = True
                self.error = self.error or str(exc)
            if (
                hidden
                and self.options.method == "auto"
                and self.kernel.capabilities()["migrate_pages"].available
            ):
                self._move_hidden(move, hidden, explained)

    def _move_hidden(self, move: Move, hidden: int, explained: int) -> None:
        """Pages that move_pages cannot see, before the next move begins: it may fill the node that this one empties.
        `explained`: the bytes that had a reason before this move began."""
        before = read_placement(self.kernel, self.pid)
        self.progress.left["hidden"] -= hidden
        moved, now, not_moved = self._migrate_pages(
            NodeSet([move.source]), NodeSet([move.target]), (move,), before
        )
        self.progress.moved += moved
        self.progress.done = min(self.progress.total, self.progress.done + moved)
        rest = remaining(before.bytes_by_node, now.bytes_by_node, (move,))
        self._explain(now, max(0, rest - (sum(self.progress.left.values()) - explained)), (move,), not_moved)

    def _by_migrate_pages(self, before: Placement) -> None:
        moved, now, not_moved = self._migrate_pages(
            self.plan.sources, self.plan.targets, self.plan.moves, before
        )
        self.progress.moved = moved
        self.progress.done = self.progress.total
        rest = remaining(before.bytes_by_node, now.bytes_by_node, self.plan.moves)
        self._explain(now, rest, self.plan.moves, not_moved)

    def _migrate_pages(
        self, sources: NodeSet, targets: NodeSet, moves: tuple[Move, ...], before: Placement
    ) -> tuple[int, Placement, int | None]:
        """One migrate_pages(2), journaled ahead: (bytes that left, the placement after it, pages that the call said it
        did not move: None where it stopped for want of room)."""
        self.used.add("migrate_pages")
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
        moved = max(0, _on_sources(before, moves) - rest)
        self.journal.after(moved // self.kernel.page_size)
        self._report(took)
        return moved, now, not_moved

    def _explain(self, now: Placement, rest: int, moves: tuple[Move, ...], not_moved: int | None) -> None:
        """migrate_pages gives no reasons: what is shared is seen, what it counted was busy."""
        if not_moved is None:
            self.progress.leave("refused" if self.error else "no-room", rest)
            return
        shared = min(rest, _on_sources(Placement(tuple(vma for vma in now.vmas if vma.mapmax > 1)), moves))
        busy = min(rest - shared, not_moved * self.kernel.page_size)
        self.progress.leave("shared", shared)
        self.progress.leave("busy", busy)
        self.progress.leave("unmovable", rest - shared - busy)

    def _report(self, took: int) -> None:
        progress = self.progress
        progress.worst_call = max(progress.worst_call, took)
        progress.elapsed = self.kernel.clock() - self.started
        self.on_progress(progress)
        if self.options.max_rate:
            due = self.started + progress.moved * 1_000_000_000 // self.options.max_rate
            while (early := due - self.kernel.clock()) > 0 and not self.cancel.is_set():
                self.kernel.pause(min(early, _PAUSE))

    def _outcome(self, before: Placement, cancelled: bool) -> Outcome:
        progress = self.progress
        after: dict[int, int] = {}
        appeared = 0
        try:
            still_the_same(self.kernel, self.process.identity)
            after = read_placement(self.kernel, self.pid).bytes_by_node
        except (NotFound, NotPermitted) as exc:
            self.error = self.error or str(exc)
            progress.left.clear()
            progress.leave("process-ended", progress.total - progress.moved)
        except NumatuiError as exc:
            self.error = self.error or str(exc)
        else:
            appeared = self._reconcile(before.bytes_by_node, after, cancelled)
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
            appeared=appeared,
        )

    def _reconcile(self, before: dict[int, int], after: dict[int, int], cancelled: bool) -> int:
        """What the calls answered against what was read again: what is still on sources gets a reason, and what came
        back counts as not moved. Returns what is new there."""
        progress = self.progress
        rest = remaining(before, after, self.plan.moves)
        if hidden := progress.left.get("hidden", 0):
            progress.left["hidden"] = max(0, min(hidden, rest - sum(progress.left.values()) + hidden))
        if self.gave_up:
            progress.leave("refused" if self.error else "no-room", rest - sum(progress.left.values()))
        unreached = progress.total - progress.moved - sum(progress.left.values())
        if cancelled:
            progress.leave("cancelled", unreached)
        elif self.error and not self.gave_up:
            progress.leave("stopped", unreached)
        excess = max(0, rest - sum(progress.left.values()))
        appeared = min(excess, max(0, sum(after.values()) - sum(before.values())))
        returned = min(excess - appeared, progress.moved)
        progress.leave("returned", returned)
        progress.moved -= returned
        return appeared


def _on_sources(placement: Placement, moves: tuple[Move, ...]) -> int:
    sources = NodeSet(move.source for move in moves)
    by_node = placement.bytes_by_node
    return sum(by_node.get(node, 0) for node in sources)
