"""`numatui ps`: processes with their pages per node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from backend.errors import NotFound, UsageError
from backend.kernel import Kernel
from backend.machine.topology import Topology, read_topology
from backend.placement.locate import NEVER
from backend.placement.survey import ProcessRow, Surveyor
from backend.selection.selection import matcher_of_tree, nobody
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.watching import Count, Watch, begin_block, interval_of, ticks
from numatui.cli.selecting import Patterns, SelectOptions
from numatui.cli.shell import completing
from numatui.cli.source import kernel_of
from numatui.process_tree import as_tree

SORTS = ("pid", "rss", "local", "user", "command", "node")


def ps(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pattern: Patterns = None,
    sort: Annotated[
        str,
        typer.Option(
            help="pid, rss, local, user, command, node, or N and a node's number.",
            autocompletion=completing.one_of(*SORTS),
        ),
    ] = "rss",
    exact: Annotated[
        bool, typer.Option("--exact", help="Read numa_maps of large processes too, which holds them up.")
    ] = False,
    watch: Watch = None,
    count: Count = None,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List processes with their memory per node. With --tree: children below their parents.

    Example: numatui ps --sort local postgres
    """
    interval = interval_of(watch, count)
    kernel = kernel_of(context)
    surveyor = Surveyor(kernel, read_topology(kernel), large=NEVER if exact else None)
    selection = selecting.of_patterns(pattern)

    def read(first: bool) -> list[ProcessRow]:
        try:
            rows = surveyor.read(matcher_of_tree(kernel, selection))
        except NotFound:
            if first:
                raise
            rows = []  # the head of the tree has gone: it may come again
        if first and not rows and not selection.is_everybody:
            raise nobody(selection)
        return layout.ordered(_sorted(rows, sort, surveyor.topology.ids))

    tree = selection.tree
    if interval is None:
        _show(kernel, surveyor.topology, read(True), layout, tree, json, csv)
        return
    with cancelled_by_signals() as cancel:
        first = True
        for at in ticks(kernel, interval, count, cancel):
            surveyor.topology = read_topology(kernel)
            _show(kernel, surveyor.topology, read(first), layout, tree, json, csv, at)
            first = False


def _show(
    kernel: Kernel,
    topology: Topology,
    rows: list[ProcessRow],
    layout: output.Layout,
    tree: bool,
    json: bool,
    csv: bool,
    at: float | None = None,
) -> None:
    """`at`: seconds since the first reading of --watch; None without it."""
    ids = list(topology.memory_ids | topology.ids)
    depth: dict[int, int] = {}
    if tree:
        branches = as_tree(rows, lambda row: row.process.pid, lambda row: row.process.ppid)
        branches = layout.first(branches)
        rows = [branch.row for branch in branches]
        depth = {branch.row.process.pid: branch.depth for branch in branches}
    else:
        rows = layout.first(rows)
    if json:
        output.print_json(
            "ps", {**document(kernel, ids, rows), **({} if at is None else {"at": at})}, line=at is not None
        )
    elif csv:
        output.print_csv(
            [
                *([] if at is None else ["at"]),
                "pid",
                "user",
                "command",
                "cpu",
                "node",
                "rss_bytes",
                "local",
                "policy",
                "cpuset",
                "way",
                "age_seconds",
                *[f"nodes.{n}_bytes" for n in ids],
                *[f"error.{n}_bytes" for n in ids],
            ],
            [
                [
                    *([] if at is None else [round(at, 3)]),
                    row.process.pid,
                    row.process.user,
                    row.process.command,
                    row.process.cpu,
                    row.node,
                    row.resident,
                    "" if row.local is None else round(row.local, 4),
                    row.policy,
                    row.process.cpuset,
                    row.way,
                    round(row.age / 1e9, 3),
                    *[row.by_node.get(n, 0) if row.by_node is not None else "" for n in ids],
                    *[row.error.get(n, 0) if row.by_node is not None else "" for n in ids],
                ]
                for row in rows
            ],
            heading=not at,
        )
    else:
        if at is not None:
            begin_block(at)
        _print(rows, ids, depth)
        for text in [] if at is not None else notes(rows, kernel.credentials()[1]):
            output.note(text)


def document(kernel: Kernel, nodes: Sequence[int], rows: Iterable[ProcessRow]) -> dict[str, Any]:
    """Schema numatui/ps/1, without what --watch adds."""
    return {
        "source": kernel.source, "host": output.exact(kernel.name), "page_size": kernel.page_size,
        "nodes": list(nodes), "processes": [_document(row) for row in rows],
    }  # fmt: skip


def _sorted(rows: list[ProcessRow], by: str, ids: Any) -> list[ProcessRow]:
    if by[:1] in "Nn" and by[1:].isdigit():
        node = int(by[1:])
        if node not in ids:
            raise NotFound(f"there is no node {node}", f"the nodes here are {ids}")
        return sorted(rows, key=lambda row: -(row.by_node or {}).get(node, 0))
    if by not in SORTS:
        raise UsageError(f"cannot sort by '{by}'", f"choose one of {', '.join(SORTS)} or N0, N1, …")
    if by == "rss":
        return sorted(rows, key=lambda row: -row.resident)
    if by == "local":
        return sorted(rows, key=lambda row: 2.0 if row.local is None else row.local)
    if by == "user":
        return sorted(rows, key=lambda row: row.process.user)
    if by == "command":
        return sorted(rows, key=lambda row: row.process.command)
    if by == "node":
        return sorted(rows, key=lambda row: -1 if row.node is None else row.node)
    return rows


def _document(row: ProcessRow) -> dict[str, Any]:
    process = row.process
    return {
        "pid": process.pid,
        "start_time": process.identity.start_time,
        "ppid": process.ppid,
        "uid": process.uid,
        "user": output.exact(process.user),
        "comm": output.exact(process.comm),
        "command": output.exact(process.command),
        "state": process.state,
        "threads": process.threads,
        "cpu": process.cpu,
        "node": row.node,
        "rss": row.resident,
        "swap": process.swap,
        "nodes": None if row.by_node is None else {str(node): amount for node, amount in row.by_node.items()},
        "error": {str(node): amount for node, amount in row.error.items()},
        "hidden": row.hidden,
        "way": row.way,
        "age_seconds": round(row.age / 1e9, 3),
        "runs_on": {str(node): round(share, 4) for node, share in row.runs_on.items()},
        "threads_left_out": row.threads_left_out,
        "local": None if row.local is None else round(row.local, 4),
        "policy": output.exact(row.policy),
        "cpuset": output.exact(process.cpuset),
    }


def _print(rows: list[ProcessRow], ids: list[int], depth: dict[int, int]) -> None:
    columns: list[str] = [
        ">PID", "USER", "COMMAND", ">CPU@N", ">RSS", ">LOCAL",
        *[f">N{node}" for node in ids], "POLICY", "CPUSET",
    ]  # fmt: skip
    cells: list[list[str]] = []
    for row in rows:
        process = row.process
        amounts = (
            ["?"] * len(ids)
            if row.by_node is None
            else [_about(row, output.size(row.by_node.get(node, 0))) for node in ids]
        )
        cells.append([
            str(process.pid), process.user, "  " * depth.get(process.pid, 0) + output.short(process.command, 80),
            f"{process.cpu}@{'?' if row.node is None else row.node}", output.size(row.resident),
            _about(row, output.percent(row.local)), *amounts, row.policy, process.cpuset,
        ])  # fmt: skip
    output.print_table(columns, cells, flexible=2)


def notes(rows: list[ProcessRow], all_seen: bool) -> list[str]:
    """Notices about the numbers: which are estimates or missing. `all_seen`: the caller may read every process."""
    out: list[str] = []
    sampled = [row for row in rows if row.sampled and row.by_node]
    if sampled:
        worst = max(max(row.error.values(), default=0) / max(1, row.resident) for row in sampled)
        out.append(
            "~ = estimated from a sample of pages; 95 % of such numbers are off by at most "
            f"{max(0.1, worst * 100):.1f} % of the process's memory (--json has the errors); root reads all pages; "
            "--exact counts them, but holds the process up"
        )
    if any(row.hidden for row in sampled):
        out.append("NUMA balancing hides pages: the errors of the estimates include them")
    if any(row.by_node is None and row.way == "sampled" for row in rows):
        out.append("? = NUMA balancing hides all pages of the sample: --exact counts them")
    if any(row.by_node is None and row.way != "sampled" for row in rows):
        others = "" if all_seen else "another user's process (run numatui as root), "
        out.append(f"? = the placement cannot be read: {others}a sandboxed process, or one that has just ended")
    if any(row.way in ("pagemap", "sampled") and row.policy.endswith("?") for row in rows):
        out.append("default? = a large process: only its first policy was read (--exact, numatui show --exact: all)")
    if capped := sum(row.threads_left_out > 0 for row in rows):
        out.append(f"many threads in {capped} of them: only some threads were read to see where they run")
    return out


def _about(row: ProcessRow, text: str) -> str:
    return f"~{text}" if row.sampled and row.by_node else text
