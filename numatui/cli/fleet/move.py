"""`numatui fleet migrate | undo`: the same move on many hosts, a few at a time, and all of it back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from backend.errors import Interrupted, NotFound, NumatuiError, UsageError
from backend.fleet.carry_out import Move, Task, carry_out, host_of, nothing_left
from backend.fleet.hosts import folded
from backend.fleet.move import Done, announced, has_work, move_there, plan_there, undo_plan_there, undo_there, ways
from backend.fleet.reach import Answer
from backend.fleet.record import Moved, find
from backend.job.options import Options
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.plan.plan import Plan
from numatui.cli.fleet.chosen import Chosen, chosen, chosen_by_job, end, tell_failures
from numatui.cli.move.carry_out import outcome_document
from numatui.cli.move.move_options import All, Budget, MaxRate, MethodName, Workers, Yes, parse_rate, parse_workers
from numatui.cli.move.plan import From, To, check_method
from numatui.cli.printing import output
from numatui.cli.printing.plan_output import document as plan_document
from numatui.cli.printing.progress import cancelled_by_signals, confirm
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.selecting import SelectOptions
from numatui.format import parse_duration

Rolling = Annotated[int, typer.Option(min=1, metavar="N", help="Hosts that move at a time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def migrate(
    context: typer.Context,
    sources: From,
    targets: To,
    selecting: SelectOptions,
    method: MethodName = "auto",
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    move_all: All = False,
    rolling: Rolling = 1,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: output.Json = False,
) -> None:
    """Move pages of the same processes on many hosts. Says first what would move where; then a few hosts at a time, and
    no more of them after one on which it has not gone as said.

    Example: numatui fleet --hosts @db migrate --unit postgresql --from 0 --to 1 --rolling 2
    """
    selection = selecting.of(None)
    if selection.is_everybody:
        raise UsageError("no process is named", "select them: --match, --user, --cgroup, --unit …")
    request = MoveRequest(
        selection, sources, targets, None, check_method(method), move_all, False, parse_rate(max_rate)
    )
    options = Options(budget=parse_duration(budget), workers=parse_workers(workers))
    fleet = chosen(context)
    plans = fleet.ask(lambda kernel: _planned(kernel, plan_there(kernel, request)))
    said = {one.host: announced(one.value[0]) for one in plans if one.value is not None and one.value[0]}
    if plans and all(one.value is not None and one.value[0] is None for one in plans):
        raise NotFound(f"no host has a process that matches {selection.text}", "numatui fleet ps shows what there is")
    _carry_out(
        fleet, plans, f"migrate {sources} → {targets}", "Move", rolling, dry_run, yes, json, options,
        lambda kernel, host, cancel: move_there(kernel, request, said[host], options, cancel),
    )  # fmt: skip


def undo(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Which fleet job. Default: the newest.")] = None,
    budget: Budget = "100ms",
    workers: Workers = "auto",
    rolling: Rolling = 1,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: output.Json = False,
) -> None:
    """Move everything back that a fleet job has moved, on all its hosts, the last one first.

    Example: numatui fleet undo
    """
    moved = find(job)
    options = Options(budget=parse_duration(budget), workers=parse_workers(workers))
    if moved.unknown:
        host = moved.unknown[0] if len(moved.unknown) == 1 else "HOST"
        output.note(
            f"{folded(moved.unknown)}: what was done there is not known here; numatui --host {host} jobs tells, "
            "undo takes it back"
        )
    fleet = chosen_by_job(context, moved)
    plans = fleet.ask(lambda kernel: _planned(kernel, _undo_plan(kernel, moved)))
    _carry_out(
        fleet, plans, f"undo of {moved.name}", "Take back", rolling, dry_run, yes, json, options,
        lambda kernel, host, cancel: undo_there(kernel, moved.jobs[host], moved.began[host], options, cancel),
        undoes=moved,
    )  # fmt: skip


def _undo_plan(kernel: Kernel, moved: Moved) -> Plan | None:
    host = host_of(kernel)
    return undo_plan_there(kernel, moved.jobs[host], moved.began[host])


Planned = tuple[Plan | None, dict[str, Any] | None]
"""With its document."""


def _planned(kernel: Kernel, plan: Plan | None) -> Planned:
    return plan, None if plan is None else {"schema": "numatui/plan/1", **plan_document(kernel, plan)}


def _carry_out(
    fleet: Chosen,
    plans: Sequence[Answer[Planned]],
    title: str,
    verb: str,
    rolling: int,
    dry_run: bool,
    yes: bool,
    json: bool,
    options: Options,
    move: Move,
    undoes: Moved | None = None,
) -> None:
    """Shows the plans, asks, moves, tells. Raises Exit: 0 as announced, 6 in part, 130 interrupted."""
    if any(isinstance(one.error, Interrupted) for one in plans):
        raise Interrupted("interrupted: nothing was done", "")
    found = {one.host: one.value[0] for one in plans if one.value is not None and one.value[0] is not None}
    todo = {host: plan for host, plan in found.items() if has_work(plan)}
    total = sum(one.bytes for one in todo.values())
    documents: dict[str, dict[str, Any]] = {}

    def there(kernel: Kernel, host: str, cancel: threading.Event) -> Done | None:
        done = move(kernel, host, cancel)
        if done is not None:
            with suppress(NumatuiError, OSError):  # what was done counts, also if nothing more can be read
                found = outcome_document(kernel, done.plan, done.outcome)
                documents[host] = {"schema": "numatui/migrate/1", **found}
        return done

    everywhere = all(one.error is None for one in plans)
    task = Task(title, fleet.sudo, list(todo), there, rolling, undoes, everywhere, options.budget / 1e9)
    if not json:
        _print_plans(plans, found, todo)
    if dry_run or not todo:
        if json:
            _print_json(title, None, plans, {})
        elif not todo and any(one.error is None for one in plans):
            print("nothing to do")
        if not dry_run:
            nothing_left(task)
        end(plans)
        return
    confirm(total, yes, f"On {len(todo)} host{'s' * (len(todo) > 1)}: {verb.lower()}", also=True)

    def told(one: Answer[Done]) -> None:
        if not json:
            _print_end(one)

    with unstoppable(), cancelled_by_signals() as cancel:
        ended = carry_out(task, cancel, told)
        tell_failures([*ended.ends.values()])
        if ended.unwritten:
            output.failure(ended.unwritten)
    if json:
        _print_json(title, ended.name, plans, documents, ended.ends)
    if ended.left:
        why = "it was interrupted" if cancel.is_set() else "not all has gone as announced before"
        output.failure(f"{folded(ended.left)}: nothing was done there: {why}")
    if not json and undoes is None and any(one.value for one in ended.ends.values()):
        print(f"numatui fleet undo {ended.name} takes all of it back")
    if not ended.fine:
        raise typer.Exit(130 if cancel.is_set() else 6)
    end(plans)


def _print_plans(plans: Sequence[Answer[Planned]], found: dict[str, Plan], todo: dict[str, Plan]) -> None:
    rows = [
        [
            host, str(len(plan.processes)),
            ways(plan),
            output.size(plan.bytes), output.duration(plan.seconds),
            "enough" if all(room.enough for room in plan.room) else "not enough",
        ]
        for host, plan in todo.items()
    ]  # fmt: skip
    if rows:
        output.print_table(["HOST", ">PROCESSES", "MOVES", ">SIZE", ">TIME", "ROOM"], rows, flexible=2)
    nobody = [one.host for one in plans if one.value is not None and one.value[0] is None]
    if nobody:
        output.note(f"{folded(nobody)}: nothing to do there")
    if still := [host for host in found if host not in todo]:
        output.note(f"{folded(still)}: nothing of it would move there")
    same: dict[tuple[str, str, str], list[str]] = {}
    for host, plan in found.items():
        for warning in plan.warnings:
            same.setdefault((warning.code, warning.text, warning.fix), []).append(host)
    for (code, text, fix), hosts in same.items():
        output.note(f"{folded(hosts)}: {code}: {text}" + (f"; {fix}" if fix else ""))


def _print_end(one: Answer[Done]) -> None:
    if one.value is None:
        if one.error is None:
            print(f"{one.host}: nothing is left to do")
        return
    outcome = one.value.outcome
    left = sum(outcome.left.values())
    how = "cancelled" if outcome.cancelled else "moved in part" if one.value.code else "done"
    stays = f", {output.size(left)} stay" if left else ""
    print(f"{one.host}: {how}: {output.size(outcome.moved)} moved{stays}, job {outcome.job}")
    for error in outcome.errors:
        output.failure(f"{one.host}: {error}")


def _print_json(
    title: str,
    job: str | None,
    plans: Sequence[Answer[Planned]],
    documents: dict[str, dict[str, Any]],
    ends: dict[str, Answer[Any]] | None = None,
) -> None:
    def error(one: Answer[Planned]) -> str | None:
        last = (ends or {}).get(one.host, one).error or one.error
        return None if last is None else output.exact(str(last))

    output.print_json(
        "fleet",
        {
            "command": title.partition(" ")[0],
            "job": job,
            "hosts": [
                {
                    "host": one.host, "seconds": round(one.seconds, 3), "sent": one.sent, "received": one.received,
                    "error": error(one),
                    "document": documents.get(one.host) or (one.value[1] if one.value else None),
                }
                for one in plans
            ],
        },
    )  # fmt: skip
