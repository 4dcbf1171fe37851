"""What all commands that move pages do in the same way: show the plan, ask, run the job, say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backend.kernel import Kernel
from backend.plan.plan import Plan
from numatui.cli.printing import output
from numatui.cli.printing.progress import ProgressBar, cancelled_by_signals

if TYPE_CHECKING:
    from backend.job.options import Options
    from backend.job.outcome import Outcome


def carry_out(kernel: Kernel, plan: Plan, options: Options, quiet: bool) -> Outcome:
    """The job, with a progress bar that is a view of its events. Signals cancel it. Raises as `Job.run`."""
    from backend.job.job import Job

    with cancelled_by_signals() as cancel, ProgressBar(plan, quiet) as show:
        return Job(kernel, plan, options).run(show, cancel)


def tell(kernel: Kernel, outcome: Outcome, csv: bool) -> None:
    """For people, or as CSV."""
    from numatui.cli.printing.outcomes import print_outcome, print_outcomes_csv

    if csv:
        from backend.machine.topology import read_topology

        print_outcomes_csv(outcome, read_topology(kernel).ids)
    else:
        print_outcome(outcome, kernel.traits.keeps_jobs)


def end(plan: Plan, outcome: Outcome) -> None:
    """Say what failed on stderr, and exit as `exit_code` has it. Returns if the code is 0."""
    from backend.job.outcome import exit_code

    for error in (outcome.error, *(str(one.error) for one in outcome.failures)):
        if error:
            output.note(f"numatui: {error}")
    if code := exit_code(plan, outcome):
        raise typer.Exit(code)


def machine_document(kernel: Kernel) -> dict[str, Any]:
    """Which machine a plan or advice was made on: `apply` compares it."""
    from backend.machine.kernel_info import boot_id
    from backend.machine.topology import read_topology

    return {
        "host": output.exact(kernel.name), "boot": boot_id(kernel), "nodes": list(read_topology(kernel).ids),
        "page_size": kernel.page_size,
    }  # fmt: skip


def cpusets_document(plan: Plan, outcome: Outcome | None = None) -> list[dict[str, Any]]:
    """The cpusets that change, as scripts see them; `now` as read afterwards."""
    now = {one.path: list(one.now) for one in outcome.cpusets} if outcome is not None else {}
    return [
        {"path": output.exact(one.path), "before": list(one.mems), "after": list(one.targets),
         "others": [other.subject.process.pid for other in one.others], "now": now.get(one.path)}
        for one in plan.confinements
    ]  # fmt: skip
