"""`numatui cpuset`: list cpusets, set their mems, attach processes; says first what will move, and afterwards what
has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotFound, NotSupported, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.cli.commands import SETTINGS
from numatui.cli.option_groups import expanded
from numatui.cli.printing import output
from numatui.cli.printing.cpuset_output import (
    CpusetRow,
    change_document,
    print_change,
    print_list,
    print_list_csv,
    print_list_json,
    print_result,
    result_document,
)
from numatui.cli.printing.unstoppable import unstoppable
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.cpuset.change import Change

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
@expanded
def list_cpusets(
    context: typer.Context,
    layout: output.Layout,
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
    names = {path: label(path, kernel.username).text for path in tree.cpusets}
    shown = [
        one
        for one in tree.cpusets.values()
        if (one.own or everything) and _matches(pattern or [], one.path, names[one.path])
    ]
    if not shown:
        raise NotFound(
            f"no cpuset matches {' '.join(pattern or [])}", "numatui cpuset list without a pattern lists all"
        )
    rows = [
        CpusetRow(one, names[one.path], _count(pids_in(kernel, tree, one.path) if one.own else None))
        for one in output.cut(shown)
    ]
    if json:
        print_list_json(kernel, tree.hierarchy, rows)
    elif csv:
        print_list_csv(rows)
    else:
        print_list(rows, tree.hierarchy.version, paths=bool(pattern))
        others = sum(1 for one in tree.cpusets.values() if not one.own)
        if others and not everything and not pattern:
            output.note(
                f"{others} more cgroups are no cpusets: those above decide, and have their processes (--all lists them)"
            )


def _count(pids: list[int] | None) -> int | None:
    return None if pids is None else len(pids)


def _matches(patterns: list[str], path: str, name: str) -> bool:
    """Whether one of the patterns is part of the path or the name; True without patterns."""
    return not patterns or any(word.lower() in text.lower() for word in patterns for text in (path, name))


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
    with unstoppable():
        if not (json or csv):
            print_change(change)
        if dry_run:
            if json:
                output.print_json(schema, {"plan": change_document(change), "outcome": None})
            elif csv:
                output.print_csv_of(change_document(change)["processes"], read_topology(kernel).ids)
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
            output.print_json(schema, {"plan": change_document(change), "outcome": result_document(result)})
        elif csv:
            output.print_csv_of(result_document(result)["processes"], read_topology(kernel).ids)
        else:
            print_result(result)
        for one in result.errors:
            output.failure(one)
        if not result.complete:
            raise typer.Exit(max([1, *[one.exit_code for one in result.errors]]))
