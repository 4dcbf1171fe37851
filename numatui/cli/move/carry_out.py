"""What all commands that move pages do in the same way: show the plan, ask, run the job, say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backend.errors import UsageError
from backend.files.program import program
from backend.job.call import check_call
from backend.kernel import Kernel
from backend.plan.plan import Plan
from numatui.cli.printing import output
from numatui.cli.printing.plan_output import cpusets_document, document, print_plan, print_plan_csv
from numatui.cli.printing.progress import ProgressBar, cancelled_by_signals, confirm
from numatui.cli.printing.waiting import beside

if TYPE_CHECKING:
    from backend.job.options import Options
    from backend.job.outcome import Outcome


def carry_out(kernel: Kernel, plan: Plan, options: Options, quiet: bool) -> Outcome:
    """The job, with a progress bar that is a view of its events. Signals cancel it. Raises as `Job.run`."""
    from backend.job.job import Job

    with cancelled_by_signals() as cancel, ProgressBar(plan, quiet) as show:
        return beside(lambda: Job(kernel, plan, options).run(show, cancel))


def check_quiet(quiet: bool, yes: bool, dry_run: bool) -> None:
    """Raises UsageError if --quiet would leave out the plan that is asked about."""
    if quiet and not (yes or dry_run):
        raise UsageError("--quiet would hide what is asked about", "say --yes too")


def plan_and_move(
    kernel: Kernel, plan: Plan, options: Options, dry_run: bool, yes: bool, json: bool, csv: bool, quiet: bool
) -> None:
    """Print the plan, ask, carry it out, print what came of it, and exit with the code of that. `quiet`: without a word
    for people (`check_quiet`)."""
    from backend.job.outcome import Outcome

    check_call(kernel, plan)
    people = not (json or csv or quiet)
    check_quiet(quiet, yes, dry_run)
    if people:
        print_plan(plan)
    if dry_run:
        if json:
            output.print_json("plan", document(kernel, plan))
        elif csv:
            print_plan_csv(plan)
        return
    outcome = Outcome("", ())
    if to_do := bool(plan.bytes or plan.confinements):
        confirm(plan.bytes, yes, also=bool(plan.confinements))
        outcome = carry_out(kernel, plan, options, quiet=not people)
    if json:
        output.print_json("migrate", outcome_document(kernel, plan, outcome))
    elif csv or (to_do and people):
        tell(kernel, outcome, csv)
    elif people:
        print("nothing to do")
    end(plan, outcome)


def tell(kernel: Kernel, outcome: Outcome, csv: bool) -> None:
    """For people, or as CSV."""
    from numatui.cli.printing.outcomes import print_outcome, print_outcomes_csv

    if csv:
        from backend.machine.topology import read_topology

        print_outcomes_csv(outcome, read_topology(kernel).ids)
    else:
        print_outcome(outcome, f"{program(kernel)} undo {outcome.job}" if kernel.traits.keeps_jobs else "")


def end(plan: Plan, outcome: Outcome) -> None:
    """Say what failed on stderr, and exit as `exit_code` has it. Returns if the code is 0."""
    from backend.job.outcome import exit_code

    for error in (outcome.error, *(str(one.error) for one in outcome.failures)):
        if error:
            output.failure(error)
    if code := exit_code(plan, outcome):
        raise typer.Exit(code)


def outcome_document(kernel: Kernel, made: Plan, outcome: Outcome) -> dict[str, Any]:
    """Schema numatui/migrate/1."""
    from numatui.cli.printing.outcomes import outcome_documents

    return {
        "job": outcome.job or None,
        "plan": document(kernel, made),
        "outcomes": outcome_documents(outcome),
        "errors": [str(one.error) for one in outcome.failures] + ([outcome.error] if outcome.error else []),
        "cpusets": cpusets_document(made, outcome),
    }
