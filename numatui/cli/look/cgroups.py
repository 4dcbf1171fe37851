"""`numatui cgroups`: memory per node of control groups, from the kernel's own sums: no process is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.watching import Count, Watch, begin_block, interval_of, ticks
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of
from numatui.format import parse_size
from numatui.process_tree import as_tree

if TYPE_CHECKING:
    from backend.cgroup.cgroup_memory import CgroupMemory, Survey
    from backend.cgroup.cgroup_names import Label
    from backend.cgroup.cgroups import Hierarchy

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
    pids: Annotated[bool, typer.Option("--pids", help="Also the processes of each, without those below it.")] = False,
    flat: Annotated[bool, typer.Option("--flat", help="Whole paths instead of a tree.")] = False,
    watch: Watch = None,
    count: Count = None,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List control groups (services, containers, pods, logins) with their memory per node, and the memory outside their
    cpusets.

    A cgroup's numbers include all cgroups below it. No process is touched.

    Example: numatui cgroups --min 100M --sort outside
    """
    interval = interval_of(watch, count)
    kernel = kernel_of(context)
    shown = _Shown(pattern or [], sort, parse_size(minimum), depth, kinds, pids, flat)
    if interval is None:
        _show(kernel, shown, layout, json, csv)
        return
    with cancelled_by_signals() as cancel:
        for at in ticks(kernel, interval, count, cancel):
            _show(kernel, shown, layout, json, csv, at)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Which cgroups are shown, and what of them."""

    patterns: list[str]
    sort: str
    least: int
    depth: int | None
    kinds: bool
    pids: bool
    flat: bool


def _show(kernel: Kernel, shown: _Shown, layout: output.Layout, json: bool, csv: bool, at: float | None = None) -> None:
    """`at`: seconds since the first reading of --watch; None without it."""
    from backend.cgroup.cgroup_memory import survey

    found = survey(kernel)
    ids = _nodes(kernel, found)
    labels = _labels(kernel, found)
    rows = _rows(found, shown, labels, ids, layout, tree=not (json or csv or shown.flat), first=not at)
    pids = {one.directory.path: _pids(kernel, found.hierarchy, one) for one in rows} if shown.pids else {}
    if json:
        output.print_json(
            "cgroups",
            {
                "source": kernel.source, "host": output.exact(kernel.name), "version": found.hierarchy.version,
                "mount": output.exact(found.hierarchy.mount), "nodes": list(ids),
                "cgroups": [_document(one, labels[one.directory.path], pids) for one in rows],
                **({} if at is None else {"at": at}),
            },
            line=at is not None,
        )  # fmt: skip
    elif csv:
        _print_csv(rows, ids, labels, pids, shown, at)
    else:
        if at is not None:
            begin_block(at)
        _print(rows, ids, labels, pids, shown)
        if at is None:
            _notes(rows, found)


def _labels(kernel: Kernel, found: Survey) -> dict[str, Label]:
    from backend.cgroup.cgroup_names import label

    names = cache(kernel.username)
    return {one.directory.path: label(one.directory.path, names) for one in found.cgroups}


def _rows(
    found: Survey, shown: _Shown, labels: dict[str, Label], ids: NodeSet, layout: output.Layout, tree: bool, first: bool
) -> list[CgroupMemory]:
    """The cgroups to print, in their order. In a `tree` with those above them. Raises NotFound if no cgroup matches in
    the `first` reading."""
    from backend.cgroup.cpuset_tree import above, with_ancestors

    order = _order(shown.sort, ids)
    listed = [
        one
        for one in found.cgroups
        if one.total >= shown.least and (shown.depth is None or one.directory.depth <= shown.depth)
    ]
    if shown.patterns:
        listed = [one for one in listed if _matches(one, labels[one.directory.path], shown.patterns)]
        if first and not listed:
            raise NotFound(
                f"no cgroup matches {' '.join(shown.patterns)}", "numatui cgroups without a pattern lists all"
            )
    if not tree:
        return layout.first(layout.ordered(sorted(listed, key=order)))
    kept = {one.directory.path for one in listed}
    if shown.patterns:
        kept |= with_ancestors(kept)
    some = layout.ordered(sorted((one for one in found.cgroups if one.directory.path in kept), key=order))
    branches = as_tree(some, lambda one: one.directory.path, lambda one: above(one.directory.path))
    return layout.first([branch.row for branch in branches])


def _pids(kernel: Kernel, hierarchy: Hierarchy, one: CgroupMemory) -> list[int]:
    """Its processes; none if they may not be read, or it is gone."""
    from backend.cgroup.cgroups import members

    try:
        return members(kernel, hierarchy, one.directory.path)
    except (NotFound, NotPermitted, NotSupported):
        return []


def _print_csv(
    rows: list[CgroupMemory], ids: NodeSet, labels: dict[str, Label], pids: dict[str, list[int]], shown: _Shown,
    at: float | None,
) -> None:  # fmt: skip
    kinds: dict[str, tuple[str, ...]] = KINDS if shown.kinds else {}
    output.print_csv(
        [*([] if at is None else ["at"]), "path", "name", "kind", "memory_bytes",
         *[f"outside.{n}_bytes" for n in ids], "mems", "effective_mems", *[f"nodes.{n}_bytes" for n in ids],
         *[f"{kind}_bytes" for kind in kinds], *(["pids"] if shown.pids else [])],
        [
            [*([] if at is None else [round(at, 3)]), path, labels[path].text, labels[path].kind,
             "" if one.kinds is None else one.total, *[one.outside.get(n, 0) for n in ids], *_sets(one),
             *["" if one.kinds is None else one.by_node.get(n, 0) for n in ids],
             *[_amount(one.of(*parts)) for parts in kinds.values()],
             *([" ".join(map(str, pids[path]))] if shown.pids else [])]
            for one in rows
            for path in [one.directory.path]
        ],
        heading=not at,
    )  # fmt: skip


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


def _document(one: CgroupMemory, label: Label, pids: dict[str, list[int]]) -> dict[str, Any]:
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
        **({"pids": pids[one.directory.path]} if pids else {}),
    }


def _print(
    rows: list[CgroupMemory], ids: NodeSet, labels: dict[str, Label], pids: dict[str, list[int]], shown: _Shown
) -> None:
    kinds, flat = shown.kinds, shown.flat
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
            *([output.short(" ".join(map(str, pids[path])) or "-", 60)] if shown.pids else []),
        ])  # fmt: skip
    heads = ["CGROUP", ">MEMORY", *wide, ">OUTSIDE", *(["PIDS"] if shown.pids else [])]
    output.print_table(heads, cells, flexible=0)


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
