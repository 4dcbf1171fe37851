"""`numatui migrate`: moves pages of processes, and says what moved and what did not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from backend.errors import NotSupported, UsageError
from backend.job.planning import plan as make
from backend.job.request import MoveRequest
from numatui.cli.move.carry_out import plan_and_move
from numatui.cli.move.heat_options import HeatOptions, watching
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
from numatui.cli.move.plan import From, To, Vma, check_method
from numatui.cli.move.wait_for import Timeout, WaitFor, wait_for, waited_for
from numatui.cli.printing import output
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.printing.waiting import beside
from numatui.cli.selecting import Pids, SelectOptions
from numatui.cli.source import kernel_of


def migrate(
    context: typer.Context,
    sources: From,
    targets: To,
    selecting: SelectOptions,
    heating: HeatOptions,
    quiet: output.Quiet,
    pids: Pids = None,
    vma: Vma = None,
    method: MethodName = "auto",
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    move_all: All = False,
    cpuset: Confine = False,
    wait: WaitFor = None,
    timeout: Timeout = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Move pages between nodes while the process runs. Reads the placement again and says what moved and what did not.

    Example: numatui migrate 4242 --from 0-1 --to 2-3
    """
    selection, limit = waited_for(selecting.of(pids), wait, timeout)
    if selection.is_everybody:
        raise UsageError("no process is named", "give pids, or select them: --match, --user, --cgroup …")
    wish = heating.wish()
    kernel = kernel_of(context)
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "numatui plan says what would move")
    if wait is not None:
        wait_for(kernel, selection, limit)
    with ExitStack() as stack:
        stack.enter_context(unstoppable())
        options = options_of(kernel, stack, budget, workers)
        request = MoveRequest(
            selection, sources, targets, vma, check_method(method), move_all, cpuset,
            parse_rate(max_rate), heat=wish,
        )  # fmt: skip
        with watching(wish) as cancel:
            made = beside(lambda: make(kernel, request, cancel))
        plan_and_move(kernel, made, options, dry_run, yes, json, csv, quiet.quiet)
