"""Output and exit code of commands that move pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backend.job.outcome import Outcome, PartOutcome
from backend.plan.reasons import REASONS
from numatui.cli.printing import output

FIELDS = (
    "job", "pid", "start_time", "command", "confined", "method", "moved", "left", "appeared", "swapped", "before",
    "after", "seconds", "worst_call_seconds", "workers", "complete", "cancelled", "error",
)  # fmt: skip
"""What is told of a process, in this order."""


def outcome_documents(outcome: Outcome) -> list[dict[str, Any]]:
    """What became of each process, as scripts see it (schemas numatui/migrate/1 and numatui/undo/1)."""
    return [_document(outcome.job, one) for one in outcome.parts]


def _document(job: str, part: PartOutcome) -> dict[str, Any]:
    return {
        "job": job,
        "pid": part.process.pid,
        "start_time": part.process.identity.start_time,
        "command": output.exact(part.process.command),
        "confined": part.confined,
        "method": part.method,
        "moved": part.moved,
        "left": dict(part.left),
        "appeared": part.appeared,
        "swapped": part.swapped,
        "before": {str(node): amount for node, amount in part.before.items()},
        "after": {str(node): amount for node, amount in part.after.items()},
        "seconds": part.elapsed / 1e9,
        "worst_call_seconds": part.worst_call / 1e9,
        "workers": part.workers,
        "complete": part.complete,
        "cancelled": part.cancelled,
        "error": part.error or None,
    }


def print_outcomes_csv(outcome: Outcome, nodes: Iterable[int]) -> None:
    """One row per process; the columns are the same for every result, also for none."""
    rows = outcome_documents(outcome)
    for row in rows:
        row["left"] = {reason: row["left"].get(reason, 0) for reason in REASONS}
    by_node = {"before": dict[str, int](), "after": dict[str, int]()}
    heading = dict.fromkeys(FIELDS, 0) | {"left": dict.fromkeys(REASONS, 0)} | by_node
    output.print_csv_of(rows, nodes, heading)


def print_outcome(outcome: Outcome, undo: str) -> None:
    """For people: process by process, the cpusets, and `undo`: the command that takes it back, if there is
    one."""
    for part in outcome.parts:
        _print_part(part)
    for one in outcome.cpusets:
        print(f"cpuset {output.printable(one.path, 80)} has the nodes {one.now or 'none'} now, before: {one.before}")
    if undo and (outcome.moved or outcome.cpusets):
        print(f"job {outcome.job}: {undo} takes it back")


def _print_part(outcome: PartOutcome) -> None:
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
