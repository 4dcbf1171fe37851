"""`numatui cgroups`: memory per node of control groups, from the kernel's own sums: no process is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotFound, NotSupported, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.cli.printing import output
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of
from numatui.format import parse_size
from numatui.process_tree import as_tree

if TYPE_CHECKING:
    from backend.cgroup.cgroup_memory import CgroupMemory, Survey
    from backend.cgroup.cgroup_names import Label

SORTS = ("memory", "name", "outside")
KINDS: dict[str, tuple[str, ...]] = {
    "anon": ("anon",),
    "file": ("file",),
    "shmem": ("shmem",),
    "huge": ("anon_thp", "file_thp", "shmem_thp"),
    "kernel": ("kernel_stack", "pagetables", "sec_pagetables", "slab_reclaimable", "slab_unreclaimable"),
    "locked": ("unevictable",),
}
"""Columns of --kinds: each is the sum of these entries of memory.numa_stat. `shmem` and `huge` are parts of anon and
file. `kernel` is in no other column: the kernel's own memory for a cgroup does not move."""


def cgroups(
    context: typer.Context,
    layout: output.Layout,
    pattern: Annotated[
        list[str] | None, typer.Argument(help="Parts of paths, names or container ids (any of them).")
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            help="memory, name, outside, or N and a node's number; in a tree among siblings.",
            autocompletion=completing.one_of(*SORTS),
        ),
    ] = "memory",
    minimum: Annotated[
        str, typer.Option("--min", help="Only cgroups with at least this much memory (100M, 2G).")
    ] = "0",
    depth: Annotated[int | None, typer.Option(min=0, help="Only this many levels below the root.")] = None,
    kinds: Annotated[bool, typer.Option("--kinds", help="Kinds of memory instead of nodes.")] = False,
    flat: Annotated[bool, typer.Option("--flat", help="Whole paths instead of a tree.")] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List control groups (services, containers, pods, logins) with their memory per node, and the memory outside their
    cpusets.

    A cgroup's numbers include all cgroups below it. No process is touched.

    Example: numatui cgroups --min 100M --sort outside
    """
    from backend.cgroup.cgroup_memory import survey
    from backend.cgroup.cgroup_names import label
    from backend.cgroup.cpuset_tree import above, with_ancestors

    kernel = kernel_of(context)
    least = parse_size(minimum)
    found = survey(kernel)
    ids = _nodes(kernel, found)
    order = _order(sort, ids)
    names = cache(kernel.username)
    labels = {one.directory.path: label(one.directory.path, names) for one in found.cgroups}
    shown = [one for one in found.cgroups if one.total >= least and (depth is None or one.directory.depth <= depth)]
    context_of: set[str] = set()
    if pattern:
        matching = [one for one in shown if _matches(one, labels[one.directory.path], pattern)]
        if not matching:
            raise NotFound(f"no cgroup matches {' '.join(pattern)}", "numatui cgroups without a pattern lists all")
        context_of = with_ancestors(one.directory.path for one in matching)
        listed = matching
    else:
        listed = shown
    if json or csv or flat:
        rows = layout.ordered(sorted(listed, key=order))
    else:
        kept = {one.directory.path for one in listed} | context_of
        some = layout.ordered(sorted((one for one in found.cgroups if one.directory.path in kept), key=order))
        rows = [
            branch.row
            for branch in as_tree(some, lambda one: one.directory.path, lambda one: above(one.directory.path))
        ]
    rows = layout.first(rows)
    if json:
        output.print_json(
            "cgroups",
            {
                "source": kernel.source, "host": output.exact(kernel.name), "version": found.hierarchy.version,
                "mount": output.exact(found.hierarchy.mount), "nodes": list(ids),
                "cgroups": [_document(one, labels[one.directory.path]) for one in rows],
            },
        )  # fmt: skip
    elif csv:
        output.print_csv(
            ["path", "name", "kind", "memory", "outside", "mems", "effective_mems", *[f"node{n}" for n in ids],
             *(KINDS if kinds else ())],
            [
                [one.directory.path, labels[one.directory.path].text, labels[one.directory.path].kind,
                 "" if one.kinds is None else one.total, _amount(one.outside), *_sets(one),
                 *["" if one.kinds is None else one.by_node.get(n, 0) for n in ids],
                 *[_amount(one.of(*KINDS[kind])) for kind in (KINDS if kinds else ())]]
                for one in rows
            ],
        )  # fmt: skip
    else:
        _print(rows, ids, labels, kinds, flat)
        _notes(rows, found)


def _nodes(kernel: Kernel, found: Survey) -> NodeSet:
    """The nodes with memory. If the topology cannot be read: the nodes on which cgroups have memory."""
    from backend.machine.topology import read_topology

    there = NodeSet(node for one in found.cgroups for node, amount in one.by_node.items() if amount)
    try:
        topology = read_topology(kernel)
    except (NotSupported, NotFound):
        return there
    return topology.memory_ids | there or topology.ids


def _order(sort: str, ids: NodeSet) -> Callable[[CgroupMemory], Any]:
    if sort == "name":
        return lambda one: one.directory.path
    if sort == "memory":
        return lambda one: (-one.total, one.directory.path)
    if sort == "outside":
        return lambda one: (-_amount(one.outside), -one.total, one.directory.path)
    if sort[:1] in "Nn" and sort[1:].isdigit() and len(sort) < 7:
        node = int(sort[1:])
        if node not in ids:
            raise NotFound(f"there is no node {node}", f"the nodes here are {ids}")
        return lambda one: (-one.by_node.get(node, 0), one.directory.path)
    raise UsageError(f"cannot sort by '{sort}'", f"choose one of {', '.join(SORTS)} or N0, N1, …")


def _matches(one: CgroupMemory, label: Label, patterns: list[str]) -> bool:
    """Whether a pattern is part of its path, its displayed name or its container's id."""
    texts = (one.directory.path.lower(), label.text.lower(), label.id)
    return any(pattern.lower() in text for pattern in patterns for text in texts)


def _amount(by_node: dict[int, int]) -> int:
    return sum(by_node.values())


def _sets(one: CgroupMemory) -> tuple[str, str]:
    """mems and effective mems as text; empty if unknown."""
    return ("", "") if one.cpuset is None else (str(one.cpuset.mems), str(one.cpuset.effective_mems))


def _document(one: CgroupMemory, label: Label) -> dict[str, Any]:
    known = one.kinds is not None
    return {
        "path": output.exact(one.directory.path),
        "name": output.exact(label.text),
        "kind": label.kind,
        "id": label.id or None,
        "depth": one.directory.depth,
        "memory": one.total if known else None,
        "nodes": {str(node): amount for node, amount in one.by_node.items()} if known else None,
        "kinds": None
        if one.kinds is None
        else {kind: {str(node): amount for node, amount in nodes.items()} for kind, nodes in one.kinds.items()},
        "mems": None if one.cpuset is None else list(one.cpuset.mems),
        "effective_mems": None if one.cpuset is None else list(one.cpuset.effective_mems),
        "outside": {str(node): amount for node, amount in one.outside.items()},
        "unread": one.directory.unread or None,
    }


def _print(rows: list[CgroupMemory], ids: NodeSet, labels: dict[str, Label], kinds: bool, flat: bool) -> None:
    wide = [f">{kind.upper()}" for kind in KINDS] if kinds else [*[f">N{node}" for node in ids], "MEMS"]
    cells: list[list[str]] = []
    for one in rows:
        path = one.directory.path
        name = output.printable(path, 200) if flat else output.printable(labels[path].text, 80)
        outside = one.outside
        if one.kinds is None:
            amounts = ["-"] * (len(KINDS) if kinds else len(ids))
        elif kinds:
            amounts = [output.size(_amount(one.of(*parts))) for parts in KINDS.values()]
        else:
            amounts = [output.size(one.by_node.get(node, 0)) + ("!" if node in outside else "") for node in ids]
        cells.append([
            name if flat else "  " * min(one.directory.depth, 20) + name,
            "-" if one.kinds is None else output.size(one.total),
            *amounts, *([] if kinds else [_sets(one)[1] or "-"]), output.size(_amount(outside)),
        ])  # fmt: skip
    output.print_table(["CGROUP", ">MEMORY", *wide, ">OUTSIDE"], cells, flexible=0)


def _notes(rows: list[CgroupMemory], found: Survey) -> None:
    """Notices below the table, on stderr."""
    count = sum(1 for one in rows if one.outside)
    if count:
        those = (
            "1 cgroup has memory on nodes that it" if count == 1 else f"{count} cgroups have memory on nodes that they"
        )
        output.note(f"! = outside of the cpuset: {those} may not use")
    without = sum(1 for one in rows if one.kinds is None and not one.directory.unread)
    if without:
        output.note(f"- = no memory.numa_stat in {without} of them: their memory counts for the cgroup above")
    unread = [one for one in found.cgroups if one.directory.unread]
    if unread:
        output.note(f"{len(unread)} cgroups and those below them were not read ({unread[0].directory.unread})")
