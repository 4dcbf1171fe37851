"""`numatui plan`: what would move, where to, and whether there is room. `prepare` makes the plan for `migrate` too."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.errors import UsageError
from backend.job.planning import plan as make
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.plan.plan import METHODS, Method, Plan
from backend.plan.planner import check_sets
from backend.plan.remap import Rule, landings, remap
from numatui.cli.move.carry_out import cpusets_document, machine_document
from numatui.cli.move.move_options import All, Confine, MaxRate, parse_rate
from numatui.cli.printing import output
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of
from numatui.format import BASIS

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
Tree = Annotated[bool, typer.Option("--tree", help="Also their children and grandchildren.")]
Cgroup = Annotated[
    str | None,
    typer.Option(help="All processes of this cgroup and those below it.", autocompletion=completing.cgroups),
]
Vma = Annotated[
    str | None,
    typer.Option("--vma", help="Only this mapping of one process: an address in it, heap or stack (see show)."),
]
RULES: tuple[Rule, ...] = ("linux-6", "direct-v8")


def plan(
    context: typer.Context,
    sources: From,
    targets: To,
    pids: Annotated[
        list[int] | None,
        typer.Argument(
            help="Processes. Without any, only the mapping of nodes is printed.", autocompletion=completing.pids
        ),
    ] = None,
    tree: Tree = False,
    cgroup: Cgroup = None,
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
    """Say what a migration would move, without moving anything.

    Example: numatui plan --from 0-1 --to 2-3 4242
    """
    if nodes is not None:
        if pids or cgroup or vma:
            raise UsageError("--nodes and pids exclude each other", "leave --nodes out to plan for processes")
        _print_mapping(nodes, sources, targets, check_rule(rule) or "linux-6", json, csv)
        return
    request = MoveRequest(
        tuple(pids or ()), sources, targets, tree, cgroup, vma, check_method(method), move_all, cpuset,
        parse_rate(max_rate), check_rule(rule),
    )  # fmt: skip
    kernel = kernel_of(context)
    made = make(kernel, request)
    if json:
        output.print_json("plan", document(kernel, made))
    elif csv:
        print_plan_csv(made)
    else:
        print_plan(made)


def print_plan_csv(plan: Plan) -> None:
    """One row for each process and pair of nodes."""
    output.print_csv(
        ["pid", "from", "to", "pages", "bytes"],
        [
            [one.process.pid, move.source, move.target, move.pages, move.bytes]
            for one in plan.processes
            for move in one.moves
        ],
    )


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


def document(kernel: Kernel, plan: Plan) -> dict[str, Any]:
    """The plan as scripts see it (schema numatui/plan/1)."""
    ids = NodeSet([*plan.sources, *plan.targets])
    return {
        "from": list(plan.sources),
        "to": list(plan.targets),
        "rule": plan.rule,
        "method": plan.method,
        "moves": [{"from": move.source, "to": move.target} for move in plan.moves],
        "lands_on": {str(node): end for node, end in landings(plan.moves, ids).items()},
        "bytes": plan.bytes,
        "pages": plan.pages,
        "seconds": round(plan.seconds, 3),
        "rate_basis": plan.rate_basis,
        "stall_seconds": round(plan.stall, 4),
        "processes": [
            {
                "pid": one.process.pid,
                "start_time": one.process.identity.start_time,
                "command": output.exact(one.process.command),
                "node": one.runs_on,
                "confined": one.confined,
                "moves": [{"from": m.source, "to": m.target, "pages": m.pages, "bytes": m.bytes} for m in one.moves],
                "before": {str(node): amount for node, amount in one.before.items()},
                "after": {str(node): amount for node, amount in one.after.items()},
            }
            for one in plan.processes
        ],
        "room": [
            {
                "node": room.node,
                "free": room.free,
                "incoming": room.incoming,
                "outgoing": room.outgoing,
                "after": room.after,
                "reserve": room.reserve,
                "enough": room.enough,
                "huge_pages": {str(size): count for size, count in room.huge_pages.items()},
            }
            for room in plan.room
        ],
        "calls": plan.calls,
        "fallback": plan.fallback or None,
        "stays": dict(plan.stays),
        "max_rate": plan.max_rate,
        "move_all": plan.move_all,
        "within": list(plan.within) if plan.within is not None else None,
        "machine": machine_document(kernel),
        "cpusets": cpusets_document(plan),
        "warnings": [
            {"code": warning.code, "text": output.exact(warning.text), "fix": warning.fix} for warning in plan.warnings
        ],
    }


def print_plan(plan: Plan) -> None:
    """For people: the mapping, what each process moves, room, time, warnings."""
    arrows = (
        ", ".join(f"{move.source}→{move.target}" for move in plan.moves) or "nothing: every source stays where it is"
    )
    print(f"nodes {plan.sources} to {plan.targets}: {arrows}")
    rows = [
        [
            str(one.process.pid),
            output.printable(one.process.command, 60),
            f"{move.source}→{move.target}",
            str(move.pages),
            output.size(move.bytes),
        ]
        for one in plan.processes
        for move in one.moves
    ]
    if rows:
        output.print_table([">PID", "COMMAND", "MOVE", ">PAGES", ">SIZE"], rows, flexible=1)
    for room in plan.room:
        if room.incoming:
            state = "enough room" if room.enough else "NOT enough room"
            print(f"node {room.node}: {output.size(room.free)} free, {output.size(room.incoming)} incoming: {state}")
        for size, count in room.huge_pages.items():
            print(f"node {room.node}: {count} pages of its pool of {output.size(size)} pages incoming")
    if plan.bytes:
        basis = BASIS[plan.rate_basis]
        stall = output.duration(plan.stall)
        print(
            f"about {output.duration(plan.seconds)} ({output.size(plan.rate)}/s, {basis}); a process waits up to "
            f"{stall} at a time"
        )
    for warning in plan.warnings:
        output.note(f"{warning.code}: {warning.text}{f'; {warning.fix}' if warning.fix else ''}")


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
