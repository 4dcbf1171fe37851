"""`numatui undo`: undoes a migration, page by page."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from backend.plan.plan import Plan
from numatui.cli.look.jobs import state_of
from numatui.cli.move.carry_out import carry_out, check_quiet, end, tell
from numatui.cli.move.move_options import Budget, MaxRate, Workers, Yes, options_of, parse_rate
from numatui.cli.printing import output
from numatui.cli.printing.plan_output import cpusets_document, document, print_warnings
from numatui.cli.printing.progress import confirm
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.printing.waiting import beside
from numatui.cli.shell import completing
from numatui.cli.source import live_kernel_of

if TYPE_CHECKING:
    from backend.journal.past_job import PastJob


def undo(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            help="A job from numatui jobs. Default: the newest that moved something.", autocompletion=completing.jobs
        ),
    ] = None,
    *,
    quiet: output.Quiet,
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
    from backend.job.undo import plan_undo
    from backend.journal.past_jobs import find_job
    from numatui.cli.printing.outcomes import outcome_documents

    with ExitStack() as stack:
        stack.enter_context(unstoppable())
        kernel = live_kernel_of(context, "undo")
        past = find_job(kernel.files.jobs_dir(), job, kernel.files)
        plan = beside(lambda: plan_undo(kernel, past, parse_rate(max_rate)))
        told = {"undoes": past.job, "bytes": plan.bytes, "plan": document(kernel, plan)}
        people = not (json or csv or quiet.quiet)
        check_quiet(quiet.quiet, yes, dry_run)
        if people:
            _print(past, plan)
        if dry_run:
            if json:
                output.print_json("undo", {**told, "outcome": None, "outcomes": [], "errors": [], "cpusets": []})
            elif csv:
                output.print_csv_of([{"undoes": past.job, "bytes": plan.bytes}])
            return
        confirm(plan.bytes, yes, "Take back", also=bool(plan.confinements))
        outcome = carry_out(kernel, plan, options_of(kernel, stack, budget, workers), not people)
        if json:
            outcomes = outcome_documents(outcome)
            output.print_json(
                "undo",
                {
                    **told,
                    "outcome": outcomes[0] if outcomes else None,
                    "outcomes": outcomes,
                    "errors": list(outcome.errors),
                    "cpusets": cpusets_document(plan, outcome),
                },
            )
        elif csv or people:
            tell(kernel, outcome, csv)
        end(plan, outcome)


def _print(past: PastJob, plan: Plan) -> None:
    """What goes back, process by process."""
    print(f"job {past.job} ({state_of(past)}): {output.printable(past.title, 80)}")
    rows = [
        [str(one.process.pid), output.short(one.process.command, 60), f"{move.source}→{move.target}",
         output.size(move.bytes)]
        for one in plan.processes
        for move in one.moves
    ]  # fmt: skip
    if rows:
        output.print_table([">PID", "COMMAND", "BACK", ">SIZE"], rows, flexible=1)
    else:
        print("no page is where the job had put it: nothing goes back")
    for one in plan.confinements:
        name = output.printable(one.path, 80)
        print(f"cpuset {name} gets the nodes {one.final or 'of the cpuset above'} again, now: {one.mems}")
    print_warnings(plan)
