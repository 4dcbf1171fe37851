"""`numatui migrate`: moves pages of processes, and says what moved and what did not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import Interrupted, NotSupported, NumatuiError, UsageError
from backend.kernel import Kernel
from backend.plan.plan import Plan
from backend.plan.prepare import prepare
from numatui.cli.move.move_options import All, Budget, MaxRate, MethodName, Workers, Yes, options_of
from numatui.cli.move.plan import Cgroup, From, To, Tree, Vma, document, print_plan, print_plan_csv
from numatui.cli.printing import output
from numatui.cli.printing.progress import ProgressBar, cancelled_by_signals, confirm
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.cpuset.confinement import Confinement
    from backend.job.options import Options
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
    cpuset: Annotated[
        bool,
        typer.Option(
            "--cpuset",
            help="Also confine the processes to the targets through their cpuset, so that new pages go there too.",
        ),
    ] = False,
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
            mapping=vma,
        )
        confinements: list[Confinement] = []
        if cpuset:
            confinements = _confinements(kernel, plan)
            settled = [one for one in plan.warnings if one.code not in ("policy", "cpuset")]
            plan = replace(plan, warnings=tuple(settled))
        if not (json or csv):
            print_plan(plan)
            for one in confinements:
                output.note(f"cpuset: {_concerned(one)}")
        if dry_run:
            if json:
                output.print_json("plan", {**document(plan), **_cpusets_document(confinements)})
            elif csv:
                print_plan_csv(plan)
            return
        confirm(plan.bytes, yes, also=bool(confinements))
        options = replace(options, cpusets=tuple((one.path, str(one.mems)) for one in confinements))
        _widen(kernel, confinements)
        outcomes, errors = carry_out(kernel, plan, options, quiet=json or csv)
        said = _narrow(kernel, confinements, outcomes, errors)
    from numatui.cli.printing.outcomes import exit_with, outcome_document, print_outcome, print_outcomes_csv

    if errors and not outcomes:
        raise errors[0]
    if json:
        output.print_json(
            "migrate",
            {
                "plan": document(plan),
                "outcomes": [outcome_document(one) for one in outcomes],
                "errors": [str(one) for one in errors],
                **_cpusets_document(confinements),
            },
        )
    elif csv:
        from backend.machine.topology import read_topology

        print_outcomes_csv(outcomes, read_topology(kernel).ids)
    else:
        for one in outcomes:
            print_outcome(one)
    for text in said:
        output.note(text)
    exit_with(outcomes, errors)


def _confinements(kernel: Kernel, plan: Plan) -> list[Confinement]:
    from backend.cpuset import confinement

    processes = [one.process for one in plan.processes]
    return confinement.predict(kernel, processes, plan.targets)


def _concerned(one: Confinement) -> str:
    """The change of a cpuset, and the other processes in it."""
    names = ", ".join(f"{other.pid} {output.printable(other.comm, 20)}" for other in one.others[:3])
    more = f" and {len(one.others) - 3} more" if len(one.others) > 3 else ""
    others = f"; it also confines other processes: {names}{more}" if one.others else ""
    return f"{output.printable(one.path, 80)} will have the nodes {one.targets} instead of {one.mems}{others}"


def _cpusets_document(confinements: list[Confinement]) -> dict[str, Any]:
    return {
        "cpusets": [
            {"path": output.exact(one.path), "before": list(one.mems), "after": list(one.targets),
             "others": [other.pid for other in one.others]}
            for one in confinements
        ]
    }  # fmt: skip


def _widen(kernel: Kernel, confinements: list[Confinement]) -> None:
    """The first step of confining: adds the targets to the mems."""
    from backend.cpuset import confinement

    for one in confinements:
        confinement.widen(kernel, one)


def _narrow(
    kernel: Kernel, confinements: list[Confinement], outcomes: list[Outcome], errors: list[NumatuiError]
) -> list[str]:
    """The second step of confining, after the migration. Returns notices for the user."""
    from backend.cpuset import confinement

    if errors or any(one.cancelled or one.error for one in outcomes):
        return [confinement.left_wide(one) for one in confinements]
    said: list[str] = []
    for one in confinements:
        try:
            said += confinement.narrow(kernel, one)
        except NumatuiError as exc:
            errors.append(exc)
    return said


def carry_out(kernel: Kernel, plan: Plan, options: Options, quiet: bool) -> tuple[list[Outcome], list[NumatuiError]]:
    """Migrate one process after the other. A failure for one process does not stop the others."""
    from backend.job.migrate import migrate_process

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
    if left := len(plan.processes) - len(outcomes) - len(errors):
        errors.append(Interrupted(f"interrupted: {left} more processes were not started"))
    return outcomes, errors
