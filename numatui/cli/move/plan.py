"""`numatui plan`: what would move, where to, and whether there is room. `prepare` makes the plan for `migrate` too."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.errors import UsageError
from backend.job.planning import plan as make
from backend.job.request import MoveRequest
from backend.nodeset import NodeSet
from backend.plan.plan import METHODS, Method
from backend.plan.planner import check_sets
from backend.plan.remap import RULES, Rule, landings, remap
from numatui.cli.move.heat_options import HeatOptions, watching
from numatui.cli.move.move_options import All, Confine, MaxRate, parse_rate
from numatui.cli.printing import output
from numatui.cli.printing.plan_output import document, print_plan, print_plan_csv
from numatui.cli.printing.waiting import beside
from numatui.cli.selecting import Pids, SelectOptions
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of

From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="SET",
        help="Source nodes: 0, 0-1,3, all, !2, +0-1 (relative).",
        autocompletion=completing.nodesets,
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="SET",
        help="Target nodes, in the same grammar, or 'same'.",
        autocompletion=completing.nodesets,
    ),
]
Vma = Annotated[
    str | None,
    typer.Option("--vma", help="Only this mapping of one process: an address in it, heap or stack (see show)."),
]


def plan(
    context: typer.Context,
    sources: From,
    targets: To,
    selecting: SelectOptions,
    heating: HeatOptions,
    layout: output.Layout,
    pids: Pids = None,
    vma: Vma = None,
    nodes: Annotated[str | None, typer.Option(help="The nodes that exist (0-3), instead of asking a machine.")] = None,
    rule: Annotated[
        str | None, typer.Option(help="Remap rule: linux-6 or direct-v8. Default: the kernel's own.")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, move_pages or migrate_pages.")] = "auto",
    move_all: All = False,
    cpuset: Confine = False,
    max_rate: MaxRate = "0",
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Say what a migration would move, without moving anything. Without any process, only the mapping of nodes.

    Example: numatui plan --from 0-1 --to 2-3 4242
    """
    selection = selecting.of(pids)
    if nodes is not None:
        if not selection.is_everybody or vma:
            raise UsageError("--nodes and pids exclude each other", "leave --nodes out to plan for processes")
        _print_mapping(nodes, sources, targets, check_rule(rule) or "linux-6", json, csv)
        return
    wish = heating.wish()
    request = MoveRequest(
        selection, sources, targets, vma, check_method(method), move_all, cpuset,
        parse_rate(max_rate), check_rule(rule), wish,
    )  # fmt: skip
    kernel = kernel_of(context)
    with watching(wish) as cancel:
        made = beside(lambda: make(kernel, request, cancel))
    if json:
        output.print_json("plan", document(kernel, made))
    elif csv:
        print_plan_csv(made)
    else:
        print_plan(made)


def check_method(text: str) -> Method:
    for method in METHODS:
        if text == method:
            return method
    raise UsageError(f"there is no method '{text}'", f"choose one of {', '.join(METHODS)}")


def check_rule(text: str | None) -> Rule | None:
    for rule in RULES:
        if text == rule:
            return rule
    if text is not None:
        raise UsageError(f"there is no rule '{text}'", f"choose one of {', '.join(RULES)}")
    return None


def _print_mapping(nodes: str, sources: str, targets: str, rule: Rule, json: bool, csv: bool) -> None:
    there = NodeSet.parse_list(nodes)
    from_set = NodeSet.parse(sources, there)
    to_set = NodeSet.parse(targets, there, same=from_set)
    check_sets(from_set, to_set, there, there)
    moves = remap(from_set, to_set, rule)
    if json:
        output.print_json(
            "plan",
            {
                "from": list(from_set), "to": list(to_set), "rule": rule,
                "moves": [{"from": move.source, "to": move.target} for move in moves],
                "lands_on": {str(node): end for node, end in landings(moves, there).items()},
            },
        )  # fmt: skip
    elif csv:
        output.print_csv(["from", "to"], [[move.source, move.target] for move in moves])
    else:
        print(
            ", ".join(f"{move.source}→{move.target}" for move in moves)
            or "nothing moves: every source stays where it is"
        )
