"""`numatui migrate`: moves pages of processes, and says what moved and what did not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotSupported, UsageError
from backend.job.call import check_call
from backend.job.planning import plan as make
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.plan.plan import Plan
from numatui.cli.move.carry_out import carry_out, cpusets_document, end, tell
from numatui.cli.move.move_options import (
    All,
    Budget,
    Confine,
    MaxRate,
    MethodName,
    Workers,
    Yes,
    options_of,
    parse_rate,
)
from numatui.cli.move.plan import Cgroup, From, To, Tree, Vma, check_method, document, print_plan, print_plan_csv
from numatui.cli.printing import output
from numatui.cli.printing.progress import confirm
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.job.outcome import Outcome


def migrate(
    context: typer.Context,
    sources: From,
    targets: To,
    pids: Annotated[list[int] | None, typer.Argument(help="The processes.", autocompletion=completing.pids)] = None,
    tree: Tree = False,
    cgroup: Cgroup = None,
    vma: Vma = None,
    method: MethodName = "auto",
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    move_all: All = False,
    cpuset: Confine = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Move pages between nodes while the process runs. Reads the placement again and says what moved and what did not.

    Example: numatui migrate 4242 --from 0-1 --to 2-3
    """
    if not pids and cgroup is None:
        raise UsageError("no process is named", "give pids, or a cgroup with --cgroup")
    kernel = kernel_of(context)
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "numatui plan says what would move")
    with ExitStack() as stack:
        stack.enter_context(unstoppable())
        options = options_of(kernel, stack, budget, workers)
        request = MoveRequest(
            tuple(pids or ()), sources, targets, tree, cgroup, vma, check_method(method), move_all, cpuset,
            parse_rate(max_rate),
        )  # fmt: skip
        made = make(kernel, request)
        check_call(kernel, made)
        if not (json or csv):
            print_plan(made)
        if dry_run:
            if json:
                output.print_json("plan", document(kernel, made))
            elif csv:
                print_plan_csv(made)
            return
        if not made.bytes and not made.confinements:
            nothing(kernel, made, json, csv)
            return
        confirm(made.bytes, yes, also=bool(made.confinements))
        outcome = carry_out(kernel, made, options, quiet=json or csv)
        if json:
            output.print_json("migrate", outcome_document(kernel, made, outcome))
        else:
            tell(kernel, outcome, csv)
        end(made, outcome)


def nothing(kernel: Kernel, made: Plan, json: bool, csv: bool) -> None:
    """There is nothing to do: that is done."""
    from backend.job.outcome import Outcome

    nothing = Outcome("", ())
    if json:
        output.print_json("migrate", outcome_document(kernel, made, nothing))
    elif csv:
        from numatui.cli.printing.outcomes import print_outcomes_csv

        print_outcomes_csv(nothing, ())
    else:
        print("nothing to do")


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
