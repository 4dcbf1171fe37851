"""`numatui undo`: undoes a migration, page by page."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from numatui.cli.look.jobs import state_of
from numatui.cli.move.move_options import Budget, MaxRate, Workers, Yes, options_of
from numatui.cli.printing import output
from numatui.cli.printing.progress import ProgressBar, cancelled_by_signals, confirm
from numatui.cli.shell import completing
from numatui.cli.source import live_kernel_of


def undo(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            help="A job from numatui jobs. Default: the newest that moved something.", autocompletion=completing.jobs
        ),
    ] = None,
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Move the pages that a job moved, and only those, back to where they came from. Also works for an
    interrupted job.

    Example: numatui undo
    """
    from backend.files.jobs_dir import jobs_dir
    from backend.job.past_jobs import find_job
    from backend.job.undo import check_undo, undo_job
    from numatui.cli.printing.outcomes import exit_with, outcome_document, print_outcome, print_outcomes_csv

    kernel = live_kernel_of(context, "undo")
    past = find_job(jobs_dir(), job)
    check_undo(kernel, past)
    amount = sum(chunk.pages * chunk.page_size for chunk in past.chunks)
    if not (json or csv):
        moves = " ".join(f"{move.target}→{move.source}" for move in reversed(past.moves))
        print(
            f"job {past.job} ({state_of(past)}) of process {past.identity.pid} "
            f"{output.printable(past.command, 60)}: up to {output.size(amount)} go back, {moves}"
        )
    for path, mems in past.cpusets:
        name = output.printable(path, 80)
        output.note(
            f"cpuset {name} had the nodes {mems} before: numatui cpuset set-mems {name} {output.printable(mems, 80)}"
        )
    if dry_run:
        if json:
            output.print_json("undo", {"undoes": past.job, "bytes": amount, "outcome": None})
        elif csv:
            output.print_csv_of([{"undoes": past.job, "bytes": amount}])
        return
    confirm(amount, yes, "Take back up to")
    with ExitStack() as stack, cancelled_by_signals() as cancel:
        options = options_of(kernel, stack, "auto", budget, workers, max_rate, move_all=False)
        with ProgressBar(past.identity.pid, json or csv) as show:
            outcome = undo_job(kernel, past, options, show, cancel)
    if json:
        output.print_json("undo", {"undoes": past.job, "bytes": amount, "outcome": outcome_document(outcome)})
    elif csv:
        from backend.machine.topology import read_topology

        print_outcomes_csv([outcome], read_topology(kernel).ids)
    else:
        print_outcome(outcome)
    exit_with([outcome], [])
