"""`numatui advise`: whose memory is far from where it runs, what to move, what that brings; and doing it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotFound, NotSupported, NumatuiError, UsageError
from backend.kernel import Kernel
from backend.process.process import Process
from numatui.cli.look.ps import matches
from numatui.cli.move.move_options import Budget, MaxRate, Workers, Yes, options_of
from numatui.cli.printing import output
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of
from numatui.format import parse_duration, parse_size

if TYPE_CHECKING:
    from backend.advice.advice import Advice, Confidence
    from backend.job.options import Options
    from backend.job.outcome import Outcome

_LONGEST = 3600


def advise(
    context: typer.Context,
    pattern: Annotated[
        list[str] | None,
        typer.Argument(help="Pids, or parts of names or commands (any of them).", autocompletion=completing.pids),
    ] = None,
    observe: Annotated[str, typer.Option(help="How long to watch them first (5s): simulated time in a demo.")] = "5s",
    minimum: Annotated[
        str,
        typer.Option("--min", help="Only processes with at least this much memory far from where they run (100M, 2G)."),
    ] = "4M",
    user: Annotated[
        str | None, typer.Option(help="Only processes of this user (name or uid).", autocompletion=completing.users)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also processes that have no advice, and why.")] = False,
    confidence: Annotated[
        str | None,
        typer.Option(
            help="Only advice with at least this confidence: low, medium, high. Default: show all, apply from medium."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Read the policies of large processes too, which holds them up.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Carry it out, after a question.")] = False,
    budget: Budget = "100ms",
    workers: Workers = "auto",
    max_rate: MaxRate = "0",
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Watch processes for a while, then advise which memory to move to where it is used; --apply moves it.

    Example: numatui advise --observe 10s --all
    """
    from backend.advice.gathering import Adviser, limits_for, watch

    seconds = parse_duration(observe) / 1e9
    if seconds > _LONGEST:
        raise UsageError(f"'{observe}' is too long to watch", f"at most {_LONGEST}s")
    limits = limits_for(seconds, parse_size(minimum))
    sure = check_confidence(confidence)
    if apply and csv:
        raise UsageError("--apply and --csv exclude each other", "--json has the outcomes too")
    kernel = kernel_of(context)
    if apply and not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "leave out --apply to see what is advised")
    with ExitStack() as stack:
        options = options_of(kernel, stack, "auto", budget, workers, max_rate, False)
        users: set[str] = set()

        def wanted(process: Process) -> bool:
            users.update((process.user, str(process.uid)))
            return matches(process, pattern or [], user)

        if kernel.traits.is_host and sys.stderr.isatty():
            output.note(f"watching for {output.duration(seconds)} …")
        seen = watch(kernel, seconds, wanted)
        if user is not None and user not in users:
            raise NotFound(f"no process belongs to the user '{user}'", "numatui ps lists all")
        if pattern and not seen.observations:
            raise NotFound(f"no process matches {' '.join(pattern)}", "numatui ps without a pattern lists all")
        items = Adviser(kernel, limits, exact).advise(seen.observations, seen.topology)
        shown = [one for one in items if one.proposal is not None and _sure(one, sure or "low")]
        declined = [one for one in items if one.proposal is None]
        told = [*shown, *declined] if everything else shown
        if csv:
            _csv(kernel, told)
        elif not json:
            from numatui.cli.printing.advice_output import print_advice

            print_advice(kernel, [*shown, *declined], everything)
        chosen = [one for one in shown if _sure(one, sure or "medium")]
        outcomes: list[Outcome] = []
        errors: list[NumatuiError] = []
        if apply:
            outcomes, errors = _apply(kernel, chosen, len(shown) - len(chosen), options, yes, json)
    if json:
        from numatui.cli.printing.advice_output import document
        from numatui.cli.printing.outcomes import outcome_document

        output.print_json(
            "advise",
            {
                "source": kernel.source,
                "host": output.exact(kernel.name),
                "observed_seconds": seen.seconds,
                "readings": seen.readings,
                "nodes": list(seen.topology.memory_ids | seen.topology.ids),
                "processes": [document(kernel, one) for one in told],
                "not_advised": len(declined),
                **(
                    {"outcomes": [outcome_document(one) for one in outcomes], "errors": [str(one) for one in errors]}
                    if apply
                    else {}
                ),
            },
        )
    if apply:
        from numatui.cli.printing.outcomes import exit_with, print_outcome

        for one in () if json else outcomes:
            print_outcome(one)
        exit_with(outcomes, errors)


def check_confidence(text: str | None) -> Confidence | None:
    """Raises UsageError."""
    from backend.advice.advice import CONFIDENCES

    for one in CONFIDENCES:
        if text == one:
            return one
    if text is not None:
        raise UsageError(f"there is no confidence '{text}'", f"choose one of {', '.join(CONFIDENCES)}")
    return None


def _sure(advice: Advice, least: Confidence) -> bool:
    from backend.advice.advice import CONFIDENCES

    one = advice.proposal
    return one is not None and CONFIDENCES.index(one.confidence) >= CONFIDENCES.index(least)


def _csv(kernel: Kernel, items: list[Advice]) -> None:
    from numatui.cli.printing.advice_output import print_advice_csv

    print_advice_csv(kernel, items)


def _apply(
    kernel: Kernel, chosen: list[Advice], unsure: int, options: Options, yes: bool, quiet: bool
) -> tuple[list[Outcome], list[NumatuiError]]:
    """One after the other, each planned anew: what has changed since it was advised is not done."""
    from backend.advice.applying import plan_of
    from numatui.cli.move.migrate import carry_out
    from numatui.cli.printing.progress import confirm

    if unsure:
        output.note(f"{unsure} of low confidence are left as they are: --confidence low does them too")
    confirm(sum(one.proposal.bytes for one in chosen if one.proposal), yes)
    outcomes: list[Outcome] = []
    errors: list[NumatuiError] = []
    for one in chosen:
        try:
            plan = plan_of(kernel, one)
        except NumatuiError as exc:
            errors.append(exc)
            continue
        done, failed = carry_out(kernel, plan, options, quiet)
        outcomes += done
        errors += failed
        if any(outcome.cancelled for outcome in done):
            break
    return outcomes, errors
