"""Output and exit code of commands that move pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from backend.errors import NumatuiError
from backend.job.outcome import REASONS, Outcome
from numatui.cli.printing import output


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """One process's outcome as scripts see it (schemas numatui/migrate/1 and numatui/undo/1)."""
    return {
        "job": outcome.job,
        "pid": outcome.process.pid,
        "start_time": outcome.process.identity.start_time,
        "command": output.exact(outcome.process.command),
        "method": outcome.method,
        "moved": outcome.moved,
        "left": dict(outcome.left),
        "appeared": outcome.appeared,
        "swapped": outcome.swapped,
        "before": {str(node): amount for node, amount in outcome.before.items()},
        "after": {str(node): amount for node, amount in outcome.after.items()},
        "seconds": outcome.elapsed / 1e9,
        "worst_call_seconds": outcome.worst_call / 1e9,
        "workers": outcome.workers,
        "complete": outcome.complete,
        "cancelled": outcome.cancelled,
        "error": outcome.error or None,
    }


def print_outcomes_csv(outcomes: Sequence[Outcome], nodes: Iterable[int]) -> None:
    """One row per outcome; the columns are the same for every result."""
    rows = [outcome_document(one) for one in outcomes]
    for row in rows:
        row["left"] = {reason: row["left"].get(reason, 0) for reason in REASONS}
    output.print_csv_of(rows, nodes)


def print_outcome(outcome: Outcome) -> None:
    """For people: what moved, the placement before and after, and why the rest did not move."""
    nodes = sorted({*outcome.before, *outcome.after})
    pid = outcome.process.pid
    if not (outcome.moved or outcome.left or outcome.error or outcome.cancelled or outcome.appeared):
        print(f"{pid}: nothing to move")
        return
    state = "cancelled, " if outcome.cancelled else ""
    seconds = outcome.elapsed / 1e9
    rate = f", {output.size(outcome.moved / seconds)}/s" if seconds > 0 and outcome.moved else ""
    print(
        f"{pid}: {state}{output.size(outcome.moved) if outcome.moved else 'nothing'} moved in "
        f"{output.duration(seconds)}{rate}, "
        f"longest call {output.duration(outcome.worst_call / 1e9)} ({outcome.method})"
    )
    rows = [["before", *[output.size(outcome.before.get(node, 0)) for node in nodes]]]
    rows.append(["after", *[output.size(outcome.after.get(node, 0)) if outcome.after else "?" for node in nodes]])
    output.print_table(["", *[f">N{node}" for node in nodes]], rows)
    for reason, amount in outcome.left.items():
        output.note(f"{pid}: {output.size(amount)} not moved: {REASONS[reason]}")
    if outcome.appeared:
        output.note(
            f"{pid}: {output.size(outcome.appeared)} are new on source nodes: the process allocated them during the job"
        )
    if outcome.swapped:
        output.note(
            f"{pid}: {output.size(outcome.swapped)} are in swap: they come back on the node where they are touched"
        )
    if outcome.error:
        output.note(f"{pid}: {outcome.error}")


def exit_with(outcomes: Sequence[Outcome], errors: Sequence[NumatuiError]) -> None:
    """Print the errors and exit with their code. Returns if everything moved."""
    if errors:
        for one in errors:
            output.note(f"numatui: {one}")
        raise typer.Exit(max(one.exit_code for one in errors))
    if any(one.cancelled and not one.complete for one in outcomes):
        raise typer.Exit(130)
    if any(not one.complete for one in outcomes):
        raise typer.Exit(1)
