"""`numatui apply`: carries out a plan that was saved, if it still holds."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from backend.errors import NotSupported, UsageError
from backend.files.given_file import read_all, read_given, unreadable
from backend.job.saved_plan import LARGEST, parse_plan, planned_again
from numatui.cli.move.advise import check_confidence
from numatui.cli.move.carry_out import plan_and_move
from numatui.cli.move.move_options import Budget, Workers, Yes, options_of
from numatui.cli.printing import output
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.printing.waiting import beside
from numatui.cli.source import kernel_of


def apply(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What plan --json or advise --json printed; - for stdin.")
    ],
    quiet: output.Quiet,
    tolerance: Annotated[
        str, typer.Option(help="By how much of an amount the placement may have changed since (10%).")
    ] = "10%",
    confidence: Annotated[
        str | None, typer.Option(help="Of advice: only with at least this confidence. Default: medium.")
    ] = None,
    budget: Budget = "100ms",
    workers: Workers = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Carry out a saved plan. Compares processes, placements, nodes and boot first, and refuses what has drifted.

    Example: numatui plan 4242 --from 0 --to 1 --json > plan.json; numatui apply plan.json
    """
    from backend.advice.advice import CONFIDENCES

    kernel = kernel_of(context)
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "apply the plan on the machine that it was made for")
    least = check_confidence(confidence) or "medium"
    saved = parse_plan(read_plan(file), CONFIDENCES[CONFIDENCES.index(least) :])
    with ExitStack() as stack:
        stack.enter_context(unstoppable())
        made = beside(lambda: planned_again(kernel, saved, parse_share(tolerance)))
        options = options_of(kernel, stack, budget, workers)
        plan_and_move(kernel, made, options, dry_run, yes, json, csv, quiet.quiet)


def read_plan(name: str) -> bytes:
    """A file that the user names, or stdin for `-`; at most LARGEST bytes. Raises NotFound, ParseError."""
    try:
        return read_all(0, LARGEST) if name == "-" else read_given(name, LARGEST)
    except OSError as exc:
        raise unreadable(output.printable(name, 120), exc, "name a file, or - for standard input") from None


def parse_share(text: str) -> float:
    """`10%`, `0.1` → 0.1. Raises UsageError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 10:
        raise UsageError(f"'{output.printable(text, 40)}' is not a share", "write it like 10%")
    return share
