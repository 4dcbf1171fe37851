"""`numatui migrate`: move the pages of processes, and say what became of them."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotSupported, NumatuiError, UsageError
from backend.kernel import Kernel
from backend.plan import Plan
from numatui.cli import output
from numatui.cli.plan import From, To, check_method, document, prepare, print_plan
from numatui.cli.ps import parse_size
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.options import Options
    from backend.outcome import Outcome, Progress


def migrate(
    context: typer.Context,
    pids: Annotated[list[int], typer.Argument(help="The processes.")],
    sources: From,
    targets: To,
    method: Annotated[str, typer.Option(help="auto, move_pages or migrate_pages.")] = "auto",
    budget: Annotated[str, typer.Option(help="The longest that one call should take (5ms).")] = "5ms",
    max_rate: Annotated[
        str, typer.Option("--max-rate", help="At most this much a second (2GiB); 0: no limit.")
    ] = "0",
    move_all: Annotated[
        bool, typer.Option("--all", help="Also pages that other processes map (CAP_SYS_NICE).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: output.Json = False,
) -> None:
    """Move pages between nodes while the process runs. Reads the placement again and says what moved and what did not.

    Example: numatui migrate 4242 --from 0-1 --to 2-3
    """
    from backend.options import Options

    options = Options(
        method=check_method(method),
        budget=parse_duration(budget),
        max_rate=parse_size(max_rate.removesuffix("/s")),
        move_all=move_all,
    )
    kernel = kernel_of(context)
    if kernel.source == "replay":
        raise NotSupported("a recording cannot be changed", "numatui plan says what would move")
    plan = prepare(kernel, pids, sources, targets, method=method, move_all=move_all)
    if dry_run:
        output.print_json("plan", document(plan)) if json else print_plan(plan)
        return
    if not json:
        print_plan(plan)
    if plan.bytes and not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to confirm", "say --yes to move without being asked")
        typer.confirm(f"Move {output.size(plan.bytes)}?", default=False, abort=True, err=True)
    with ExitStack() as stack:
        if kernel.source == "demo":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numatui-demo-"))) / "jobs"
            options = replace(options, journal_dir=folder)
        outcomes, errors = _run(kernel, plan, options, quiet=json)
    if errors and not outcomes:
        raise errors[0]
    if json:
        output.print_json(
            "migrate",
            {
                "plan": document(plan),
                "outcomes": [outcome_document(one) for one in outcomes],
                "errors": [str(one) for one in errors],
            },
        )
    else:
        for one in outcomes:
            _print_outcome(one)
    if errors:
        for one in errors:
            output.note(f"numatui: {one}")
        raise typer.Exit(max(one.exit_code for one in errors))
    if any(one.cancelled and not one.complete for one in outcomes):
        raise typer.Exit(130)
    if any(not one.complete for one in outcomes):
        raise typer.Exit(1)


def parse_duration(text: str) -> int:
    """`5ms`, `200us`, `1s` → nanoseconds. Raises UsageError."""
    import re

    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(us|µs|ms|s)", text.strip())
    if not match or float(match[1]) == 0:
        raise UsageError(f"'{text}' is not a time", "write it like 5ms")
    return int(float(match[1]) * {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}[match[2]])


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """One process's outcome as scripts see it (schema numatui/migrate/1)."""
    return {
        "job": outcome.job,
        "pid": outcome.process.pid,
        "start_time": outcome.process.identity.start_time,
        "command": output.exact(outcome.process.command),
        "method": outcome.method,
        "moved": outcome.moved,
        "left": dict(outcome.left),
        "appeared": outcome.appeared,
        "before": {str(node): amount for node, amount in outcome.before.items()},
        "after": {str(node): amount for node, amount in outcome.after.items()},
        "seconds": outcome.elapsed / 1e9,
        "worst_call_seconds": outcome.worst_call / 1e9,
        "complete": outcome.complete,
        "cancelled": outcome.cancelled,
        "error": outcome.error or None,
    }


def _run(
    kernel: Kernel, plan: Plan, options: Options, quiet: bool
) -> tuple[list[Outcome], list[NumatuiError]]:
    """One process after the other; what one cannot be done for does not keep the others from it."""
    from backend.migrate import migrate_process

    cancel = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    outcomes: list[Outcome] = []
    errors: list[NumatuiError] = []
    try:
        for one in plan.processes:
            try:
                with _progress_bar(one.process.pid, quiet) as show:
                    outcomes.append(migrate_process(kernel, plan, one.process, options, show, cancel))
            except NumatuiError as exc:
                errors.append(exc)
            if cancel.is_set():
                break
    finally:
        signal.signal(signal.SIGINT, previous)
    return outcomes, errors


class _progress_bar:
    """A bar on a terminal's stderr, nothing elsewhere."""

    def __init__(self, pid: int, quiet: bool) -> None:
        self.pid = pid
        self.bar: Any = None
        self.wanted = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Any:
        if not self.wanted:
            return lambda _: None
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        self.bar = Bar(
            f"{self.pid}", BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self.bar.start()
        task = self.bar.add_task("", total=None)

        def show(progress: Progress) -> None:
            self.bar.update(task, completed=progress.done, total=progress.total)

        return show

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def _print_outcome(outcome: Outcome) -> None:
    from backend.outcome import REASONS

    nodes = sorted({*outcome.before, *outcome.after})
    pid = outcome.process.pid
    state = "cancelled, " if outcome.cancelled else ""
    seconds = outcome.elapsed / 1e9
    rate = f", {output.size(outcome.moved / seconds)}/s" if seconds > 0 and outcome.moved else ""
    print(
        f"{pid}: {state}{output.size(outcome.moved) if outcome.moved else 'nothing'} moved in {output.duration(seconds)}{rate}, "
        f"longest call {output.duration(outcome.worst_call / 1e9)} ({outcome.method})"
    )
    rows = [["before", *[output.size(outcome.before.get(node, 0)) for node in nodes]]]
    rows.append(
        ["after", *[output.size(outcome.after.get(node, 0)) if outcome.after else "?" for node in nodes]]
    )
    output.print_table(["", *[f">N{node}" for node in nodes]], rows)
    for reason, amount in outcome.left.items():
        output.note(f"{pid}: {output.size(amount)} not moved: {REASONS[reason]}")
    if outcome.appeared:
        output.note(
            f"{pid}: {output.size(outcome.appeared)} are new on source nodes: the process allocated them meanwhile"
        )
    if outcome.error:
        output.note(f"{pid}: {outcome.error}")
