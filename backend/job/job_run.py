"""What a migration and its undo have in common: a held process, a journal, progress, cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.errors import NotPermitted, NotSupported, NumatuiError
from backend.job.held import HeldProcess
from backend.job.journal import Journal
from backend.job.options import Options
from backend.job.outcome import Outcome, Progress
from backend.job.rate_limit import RateLimit
from backend.job.source_pages import SourcePages
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.placement.placement import Placement
from backend.plan.plan import Called
from backend.plan.remap import Move


class Cancelled(Exception):
    """The user cancelled the job."""


class JobRun:
    """One job on one process. Its runner sets `held`, `pages`, `progress` and `journal` before the first page moves,
    and `started`: the time at which the job began, nanoseconds of the kernel's clock."""

    held: HeldProcess
    pages: SourcePages
    progress: Progress
    journal: Journal
    started: int

    def __init__(
        self,
        kernel: Kernel,
        options: Options,
        on_progress: Callable[[Progress], None],
        cancel: threading.Event,
    ) -> None:
        self.kernel, self.options = kernel, options
        self.on_progress, self.cancel = on_progress, cancel
        self.limit = options.limit or RateLimit(kernel, options.max_rate)
        self._reporting = threading.Lock()

    def check(self) -> None:
        """Called right before every system call. Raises Cancelled; NotFound if the process is no longer the same."""
        if self.cancel.is_set():
            raise Cancelled
        self.held.check()

    def report(self, took: int) -> None:
        """Records a call that took so many nanoseconds. Thread-safe."""
        with self._reporting:
            self.progress.worst_call = max(self.progress.worst_call, took)
            self.progress.elapsed = self.kernel.clock() - self.started
            self.on_progress(self.progress)


def method_of(kernel: Kernel, options: Options) -> Called:
    """The system call to use. Raises NotSupported, NotPermitted if it is not available."""
    can = kernel.capabilities()
    wanted = options.method
    if wanted == "auto":
        wanted = "move_pages" if can["move_pages"].available else "migrate_pages"
    if not can[wanted].available:
        raise NotSupported(f"{wanted} is not available here: {can[wanted].why}", "numatui doctor lists what is")
    if options.move_all and not can["move_all"].available:
        raise NotPermitted(f"--all is not available here: {can['move_all'].why}", "leave it out")
    return wanted


def journal_head(run: JobRun, method: Called, moves: tuple[Move, ...], before: Placement) -> dict[str, Any]:
    """Journal header."""
    process = run.held.process
    return {
        "source": run.kernel.source,
        "boot": boot_id(run.kernel),
        "pid": process.pid,
        "start_time": process.identity.start_time,
        "program": list(run.held.program),
        "command": process.command[:200].encode("ascii", "backslashreplace").decode(),
        "method": method,
        "moves": [[move.source, move.target] for move in moves],
        "before": before.bytes_by_node,
        "cpusets": [list(one) for one in run.options.cpusets],
    }


def end_journal(journal: Journal, outcome: Outcome) -> Outcome:
    """Writes the last line of the journal and removes the oldest journals. A failed write becomes an error of the
    outcome."""
    from backend.job.past_jobs import prune

    how = "cancelled" if outcome.cancelled else "done" if outcome.complete else "partly"
    try:
        journal.end(how, moved=outcome.moved, left=outcome.left, error=outcome.error, worst_call=outcome.worst_call)
    except NumatuiError as exc:
        return replace(outcome, error=outcome.error or str(exc))
    prune(journal.path.parent)
    return outcome
