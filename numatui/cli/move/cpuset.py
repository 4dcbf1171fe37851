"""`numatui cpuset`: list cpusets, set their mems, attach processes; says first what will move, and afterwards what
has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotFound, NotSupported, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.cli.commands import SETTINGS
from numatui.cli.printing import output
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.cgroup.cpuset_tree import CpusetInfo
    from backend.cpuset.change import Change, ChangeResult, Predicted, Result

cpuset = typer.Typer(help="List cpusets, set their mems, attach processes.", **SETTINGS)

Name = Annotated[
    str,
    typer.Argument(
        metavar="CGROUP",
        help="Its path (/a/b), or the name of a unit or container.",
        autocompletion=completing.cgroups,
    ),
]
MemoryMigrate = Annotated[
    bool | None,
    typer.Option(
        "--memory-migrate/--no-memory-migrate",
        help="cgroup v1: set cpuset.memory_migrate first, which decides whether pages move. v2 always moves them.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would move.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@cpuset.command("list")
def list_cpusets(
    context: typer.Context,
    pattern: Annotated[list[str] | None, typer.Argument(help="Parts of paths or names (any of them).")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also cgroups that are not cpusets: a cpuset above decides for them.")
    ] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List cpusets as a tree: nodes and CPUs as configured and as in effect, and how many processes are in each.

    Example: numatui cpuset list
    """
    from backend.cgroup.cgroup_names import label
    from backend.cgroup.cpuset_tree import pids_in, read_cpusets

    kernel = kernel_of(context)
    tree = read_cpusets(kernel)
    names = {path: label(path, kernel.username) for path in tree.cpusets}
    shown = [
        one
        for one in tree.cpusets.values()
        if (one.own or everything)
        and (
            not pattern
            or any(word.lower() in text.lower() for word in pattern for text in (one.path, names[one.path].text))
        )
    ]
    if not shown:
        raise NotFound(
            f"no cpuset matches {' '.join(pattern or [])}", "numatui cpuset list without a pattern lists all"
        )
    counts = {one.path: _count(pids_in(kernel, tree, one.path) if one.own else None) for one in shown}
    v1 = tree.hierarchy.version == "v1"
    if json:
        output.print_json(
            "cpuset-list",
            {
                "source": kernel.source,
                "host": output.exact(kernel.name),
                "version": tree.hierarchy.version,
                "mount": output.exact(tree.hierarchy.mount),
                "cpusets": [
                    {
                        "path": output.exact(one.path),
                        "name": output.exact(names[one.path].text),
                        "depth": one.directory.depth,
                        **_sets(one),
                        "processes": counts[one.path],
                    }
                    for one in shown
                ],
            },
        )
        return
    if csv:
        output.print_csv(
            ["path", "name", "mems", "effective_mems", "cpus", "effective_cpus", "processes", "memory_migrate"],
            [
                [one.path, names[one.path].text, str(one.mems), str(one.effective_mems), str(one.cpus),
                 str(one.effective_cpus), "" if counts[one.path] is None else counts[one.path], int(one.memory_migrate)]
                for one in shown
            ],
        )  # fmt: skip
        return
    columns: list[str] = [
        "CPUSET", "MEMS", "EFFECTIVE", "CPUS", ">PROCESSES", *(["MIGRATES"] if v1 else []),
    ]  # fmt: skip
    rows = [
        [
            "  " * min(one.directory.depth, 20) + output.printable(names[one.path].text, 80)
            if not pattern
            else one.path,
            str(one.mems) or "-",
            str(one.effective_mems) or "none",
            str(one.effective_cpus) or "none",
            "-" if not one.own else "?" if counts[one.path] is None else str(counts[one.path]),
            *([("yes" if one.memory_migrate else "no") if one.own else "-"] if v1 else []),
        ]
        for one in shown
    ]
    output.print_table(columns, rows, flexible=0)
    others = sum(1 for one in tree.cpusets.values() if not one.own)
    if others and not everything and not pattern:
        output.note(
            f"{others} more cgroups are no cpusets: those above decide, and have their processes (--all lists them)"
        )


@cpuset.command("set-mems")
def set_mems(
    context: typer.Context,
    name: Name,
    mems: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="Nodes: 0-1,3, all, !2; '' (v2): the nodes of the cpuset above.",
            autocompletion=completing.nodesets,
        ),
    ],
    memory_migrate: MemoryMigrate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Set the nodes that a cpuset may use. Its processes' pages move with it, and so do their memory policies.

    Example: numatui cpuset set-mems postgresql.service 2-3
    """
    from backend.cpuset.change import predict_mems
    from backend.machine.topology import read_topology

    kernel = kernel_of(context)
    wanted = NodeSet.parse(mems, read_topology(kernel).ids)
    _carry_out(
        kernel,
        predict_mems(kernel, name, wanted, memory_migrate),
        "cpuset-set-mems",
        dry_run,
        yes,
        json,
        csv,
    )


@cpuset.command("attach")
def attach(
    context: typer.Context,
    name: Name,
    pids: Annotated[list[int], typer.Argument(help="The processes.", autocompletion=completing.pids)],
    memory_migrate: MemoryMigrate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Put processes into a cpuset. Their pages move to its nodes, and their memory policies follow.

    Example: numatui cpuset attach /batch 4242
    """
    from backend.cpuset.change import predict_attach

    kernel = kernel_of(context)
    _carry_out(kernel, predict_attach(kernel, name, pids, memory_migrate), "cpuset-attach", dry_run, yes, json, csv)


def _carry_out(kernel: Kernel, change: Change, schema: str, dry_run: bool, yes: bool, json: bool, csv: bool) -> None:
    """Say what will move, ask, do it, say what has moved."""
    from backend.cpuset.change import apply
    from backend.machine.topology import read_topology

    if not kernel.traits.writable and not dry_run:
        raise NotSupported("a recording cannot be changed", "--dry-run says what would move")
    if not (json or csv):
        _print_change(change)
    if dry_run:
        if json:
            output.print_json(schema, {"plan": _change_document(change), "outcome": None})
        elif csv:
            output.print_csv_of(_change_document(change)["processes"], read_topology(kernel).ids)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to confirm", "say --yes to change it without being asked")
        typer.confirm(
            f"Move up to {output.size(change.bytes)}?" if change.bytes else "Change it?",
            default=False, abort=True, err=True,
        )  # fmt: skip
    result = apply(kernel, change)
    if json:
        output.print_json(schema, {"plan": _change_document(change), "outcome": _result_document(result)})
    elif csv:
        output.print_csv_of(_result_document(result)["processes"], read_topology(kernel).ids)
    else:
        _print_result(result)
    for one in result.errors:
        output.note(f"numatui: {one}")
    if not result.complete:
        raise typer.Exit(max([1, *[one.exit_code for one in result.errors]]))


def _count(pids: list[int] | None) -> int | None:
    return None if pids is None else len(pids)


def _sets(one: CpusetInfo) -> dict[str, Any]:
    return {
        "own": one.own,
        "mems": list(one.mems),
        "effective_mems": list(one.effective_mems),
        "cpus": list(one.cpus),
        "effective_cpus": list(one.effective_cpus),
        "memory_migrate": one.memory_migrate,
    }


def _ways(predicted: Predicted) -> str:
    """`0→2 12M, 1→3 4M`."""
    return ", ".join(f"{a}→{b} {output.size(amount)}" for (a, b), amount in predicted.ways.items())


def _print_change(change: Change) -> None:
    where = output.printable(change.path, 120)
    if change.mems is None:
        print(f"into {where} (nodes {change.effective}):")
    else:
        print(
            f"mems of {where}: {change.mems or 'as above'}"
            + (f", in effect {change.effective}" if change.effective != change.mems else "")
        )
    rows = [
        [
            str(one.process.pid), output.printable(one.process.command, 60), f"{one.old}→{one.new}",
            "?" if one.before is None else _ways(one) or "nothing moves",
        ]
        for one in change.processes
    ]  # fmt: skip
    if rows:
        output.print_table([">PID", "COMMAND", "NODES", "MOVES"], rows, flexible=1)
    else:
        print("no process is affected")
    for text in change.notes:
        output.note(text)


def _print_result(result: ChangeResult) -> None:
    for one in result.processes:
        predicted = one.predicted
        before, after = predicted.before or {}, one.after or {}
        nodes = sorted({*before, *after})
        print(f"{predicted.process.pid}: {_verdict(one)}")
        if nodes:
            unknown = ["?"] * len(nodes)
            rows = [
                [
                    "before",
                    *([output.size(before.get(n, 0)) for n in nodes] if predicted.before is not None else unknown),
                ],
                ["after", *([output.size(after.get(n, 0)) for n in nodes] if one.after is not None else unknown)],
            ]
            output.print_table(["", *[f">N{node}" for node in nodes]], rows)
    change = result.change
    print(f"{output.printable(change.path, 120)}: mems in effect: {result.effective}")
    if result.effective != change.effective:
        output.note(f"nodes {change.effective} were meant: something changed the cpusets meanwhile")


def _verdict(one: Result) -> str:
    predicted = one.predicted
    if one.error:
        return one.error
    if one.after is None or predicted.before is None:
        return "may not be looked at: run as root"
    left = sum(one.left.values())
    moved = sum(predicted.ways.values()) - left
    text = f"{output.size(moved)} moved" if moved else "nothing moved"
    return text + (
        f", {output.size(left)} left on node {NodeSet(one.left)}: busy, unmovable, or no room" if left else ""
    )


def _by_node(amounts: dict[int, int] | None) -> dict[str, int] | None:
    return None if amounts is None else {str(node): amount for node, amount in amounts.items()}


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "path": output.exact(change.path),
        "version": change.version,
        "mems": None if change.mems is None else list(change.mems),
        "memory_migrate": change.memory_migrate,
        "effective_mems": list(change.effective),
        "bytes": change.bytes,
        "processes": [
            {
                "pid": one.process.pid,
                "start_time": one.process.identity.start_time,
                "command": output.exact(one.process.command),
                "cpuset": output.exact(one.cpuset),
                "old_mems": list(one.old),
                "new_mems": list(one.new),
                "moves": [{"from": a, "to": b, "bytes": amount} for (a, b), amount in one.ways.items()],
                "policies": [output.exact(policy) for policy in one.policies],
                "before": _by_node(one.before),
                "after": _by_node(one.after),
            }
            for one in change.processes
        ],
        "notes": [output.exact(text) for text in change.notes],
    }


def _result_document(result: ChangeResult) -> dict[str, Any]:
    return {
        "effective_mems": list(result.effective),
        "complete": result.complete,
        "processes": [
            {
                "pid": one.predicted.process.pid,
                "before": _by_node(one.predicted.before),
                "after": _by_node(one.after),
                "left": _by_node(one.left),
                "error": one.error or None,
            }
            for one in result.processes
        ],
        "errors": [str(one) for one in result.errors],
    }
