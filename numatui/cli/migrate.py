"""`numatui migrate`: move the pages of processes, and say what became of them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotSupported, NumatuiError
from backend.kernel import Kernel
from backend.plan import Plan
from backend.prepare import prepare
from numatui.cli import output
from numatui.cli.move_options import All, Budget, MaxRate, MethodName, Workers, Yes, options_of
from numatui.cli.plan import Cgroup, From, To, Tree, document, print_plan
from numatui.cli.progress import ProgressBar, cancelled_by_signals, confirm
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.options import Options
    from backend.outcome import Outcome


def migrate(
    context: typer.Context,
    sources: From,
    targets: To,
    pids: Annotated[list[int] | None, typer.Argument(help="The processes.")] = None,
    tree: Tree = False,
    cgroup: Cgroup = None,
    method: MethodName = "auto",
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    move_all: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    json: output.Json = False,
) -> None:
    """Move pages between nodes while the process runs. Reads the placement again and says what moved and what did not.

    Example: numatui migrate 4242 --from 0-1 --to 2-3
    """
    kernel = kernel_of(context)
    if kernel.source == "replay":
        raise NotSupported("a recording cannot be changed", "numatui plan says what would move")
    with ExitStack() as stack:
        options = options_of(kernel, stack, method, budget, workers, max_rate, move_all)
        plan = prepare(
            kernel,
            pids or [],
            sources,
            targets,
            method=options.method,
            move_all=move_all,
            tree=tree,
            cgroup=cgroup,
        )
        if dry_run:
            output.print_json("plan", document(plan)) if json else print_plan(plan)
            return
        if not json:
            print_plan(plan)
        confirm(plan.bytes, yes)
        outcomes, errors = _run(kernel, plan, options, quiet=json)
    from numatui.cli.outcomes import exit_with, outcome_document, print_outcome

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
            print_outcome(one)
    exit_with(outcomes, errors)


def _run(
    kernel: Kernel, plan: Plan, options: Options, quiet: bool
) -> tuple[list[Outcome], list[NumatuiError]]:
    """One process after the other; what one cannot be done for does not keep the others from it."""
    from backend.migrate import migrate_process

    outcomes: list[Outcome] = []
    errors: list[NumatuiError] = []
    with cancelled_by_signals() as cancel:
        for one in plan.processes:
            try:
                with ProgressBar(one.process.pid, quiet) as show:
                    outcomes.append(migrate_process(kernel, plan, one.process, options, show, cancel))
            except NumatuiError as exc:
                errors.append(exc)
            if cancel.is_set():
                break
    return outcomes, errors
