"""`numatui advise`: whose memory is far from where it runs, what to move, what that brings; and doing it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotSupported, NumatuiError, UsageError
from backend.kernel import Kernel
from backend.selection.selection import Selection, matcher_of_tree, nobody
from numatui.cli.move.heat_options import Hold, WayName, Window, Windows, watching, wish_of
from numatui.cli.move.move_options import Budget, MaxRate, Workers, Yes, options_of, parse_rate
from numatui.cli.printing import output
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.printing.waiting import beside
from numatui.cli.selecting import Patterns, SelectOptions
from numatui.cli.source import kernel_of
from numatui.format import parse_duration, parse_size

if TYPE_CHECKING:
    from backend.advice.advice import Advice, Confidence
    from backend.advice.gathering import Watch
    from backend.job.options import Options
    from backend.job.outcome import Outcome
    from backend.plan.plan import Plan

_LONGEST = 3600


def advise(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pattern: Patterns = None,
    observe: Annotated[str, typer.Option(help="How long to watch them first (5s): simulated time in a demo.")] = "5s",
    far: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Only processes with at least this much memory far from where they run (100M, 2G)."
        ),
    ] = "4M",
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
    heat: Annotated[
        bool, typer.Option("--heat", help="Watch which memory they use, and move that alone: it takes seconds each.")
    ] = False,
    window: Window = "1s",
    windows: Windows = 3,
    way: WayName = "auto",
    hold: Hold = "100ms",
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
    from backend.advice.gathering import Adviser, limits_for

    seconds = parse_duration(observe) / 1e9
    if seconds > _LONGEST:
        raise UsageError(f"'{observe}' is too long to watch", f"at most {_LONGEST}s")
    limits = limits_for(seconds, parse_size(far))
    sure = check_confidence(confidence)
    if apply and csv:
        raise UsageError("--apply and --csv exclude each other", "--json has the outcomes too")
    wish = wish_of("hot", window, windows, way, hold) if heat else None
    kernel = kernel_of(context)
    if apply and not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "leave out --apply to see what is advised")
    with ExitStack() as stack:
        if apply:
            stack.enter_context(unstoppable())
        options = options_of(kernel, stack, budget, workers)
        seen = _observe(kernel, seconds, selecting.of_patterns(pattern))
        with watching(wish) as cancel:
            adviser = Adviser(kernel, limits, exact, wish, cancel)
            found = beside(lambda: adviser.advise(seen.observations, seen.topology))
        advice = _select(found, sure, everything)
        if csv:
            _csv(kernel, advice.told)
        elif not json:
            from numatui.cli.printing.advice_output import print_advice

            print_advice(kernel, [*advice.shown, *advice.declined], everything)
        done = _apply(kernel, advice, options, parse_rate(max_rate), yes, json) if apply else None
        if json:
            _print_json(kernel, seen, advice, done)
        if done is not None:
            from numatui.cli.move.carry_out import end, tell

            if not json:
                tell(kernel, done.outcome, csv=False)
            for one in done.errors:
                output.failure(one)
            end(done.plan, done.outcome)
            if done.errors:
                raise typer.Exit(max(one.exit_code for one in done.errors))


@dataclass(frozen=True, slots=True)
class _Selected:
    """`shown`: advice that is sure enough to be shown; `declined`: processes with reasons against a move; `told`: what
    documents have; `chosen`: what --apply does."""

    shown: list[Advice]
    declined: list[Advice]
    told: list[Advice]
    chosen: list[Advice]


@dataclass(frozen=True, slots=True)
class _Done:
    """What --apply did, and an error for each process that could not be planned."""

    plan: Plan
    outcome: Outcome
    errors: list[NumatuiError]


def _observe(kernel: Kernel, seconds: float, selection: Selection) -> Watch:
    """Watch the processes that are selected. Raises NotFound if none is."""
    from backend.advice.gathering import watch

    wanted = matcher_of_tree(kernel, selection)
    if kernel.traits.is_host and sys.stderr.isatty():
        output.note(f"watching for {output.duration(seconds)} …")
    seen = watch(kernel, seconds, wanted)
    if not seen.observations and not selection.is_everybody:
        raise nobody(selection)
    return seen


def _select(items: list[Advice], sure: Confidence | None, everything: bool) -> _Selected:
    shown = output.cut(one for one in items if one.proposal is not None and _sure(one, sure or "low"))
    declined = [one for one in items if one.proposal is None]
    chosen = [one for one in shown if _sure(one, sure or "medium")]
    return _Selected(shown, declined, [*shown, *declined] if everything else shown, chosen)


def _print_json(kernel: Kernel, seen: Watch, advice: _Selected, done: _Done | None) -> None:
    from numatui.cli.printing.advice_output import whole_document
    from numatui.cli.printing.outcomes import outcome_documents

    told = whole_document(kernel, seen, advice.told, len(advice.declined))
    if done is not None:
        told["outcomes"] = outcome_documents(done.outcome)
        told["errors"] = [*map(str, done.errors), *done.outcome.errors]
    output.print_json("advise", told)


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


def _apply(kernel: Kernel, advice: _Selected, options: Options, max_rate: int, yes: bool, quiet: bool) -> _Done | None:
    """All in one job, planned anew: what has changed since it was advised is not done."""
    from backend.advice.applying import plan_of
    from backend.machine.topology import read_topology
    from backend.plan.planner import merged
    from numatui.cli.move.carry_out import carry_out
    from numatui.cli.printing.progress import confirm

    if unsure := len(advice.shown) - len(advice.chosen):
        output.note(f"{unsure} of low confidence are left as they are: --confidence low does them too")
    confirm(sum(one.proposal.bytes for one in advice.chosen if one.proposal), yes)
    plans: list[Plan] = []
    errors: list[NumatuiError] = []
    for one in advice.chosen:
        try:
            plans.append(beside(lambda one=one: plan_of(kernel, one, max_rate=max_rate)))
        except NumatuiError as exc:
            errors.append(exc)
    if not plans:
        if errors:
            raise errors[0]
        return None
    plan = merged(plans, read_topology(kernel), kernel.page_size)
    return _Done(plan, carry_out(kernel, plan, options, quiet), errors)
