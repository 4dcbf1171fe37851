"""`numatui nodes`: the machine's nodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

from backend.kernel import Kernel
from backend.machine.activity import Activity
from backend.machine.topology import Node, Topology, read_topology
from numatui.cli.look.rates import activities
from numatui.cli.printing import output
from numatui.cli.printing.watching import Count, Watch, interval_of
from numatui.cli.source import kernel_of

_RATES = ("numa_hit", "numa_miss", "numa_foreign", "other_node")
"""Pages (Documentation/admin-guide/numastat.rst): allocated here as intended; here although another node was preferred;
elsewhere although this node was preferred; here by a process that ran on another node."""


def nodes(
    context: typer.Context,
    layout: output.Layout,
    watch: Watch = None,
    count: Count = None,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List the nodes: memory, CPUs, distances, allocation counters, latency and bandwidth.

    With --watch: CPU load, free memory, and pages allocated and migrated a second.

    Example: numatui nodes --watch 1
    """
    interval = interval_of(watch, count)
    kernel = kernel_of(context)
    topology = read_topology(kernel)
    if interval is not None:
        for number, (at, now, activity) in enumerate(activities(kernel, interval, count)):
            _print_activity(kernel, now, activity, at, number == 0, json, csv)
        return
    if json:
        output.print_json("nodes", document(kernel, topology, output.cut(topology.nodes)))
        return
    columns = ["node", "cpus", "total", "free", "file", "anon", "huge"]
    names = ["id", "cpus", "total_bytes", "free_bytes", "file_bytes", "anon_bytes", "huge_bytes"]
    values = [
        [
            node.id,
            str(node.cpus),
            node.total,
            node.free,
            *_uses(node).values(),
        ]
        for node in output.cut(topology.nodes)
    ]
    if csv:
        others = list(topology.ids)
        output.print_csv(
            [*names, *[f"distances.{other}" for other in others]],
            [
                [*row, *[topology.distance(node.id, other) for other in others]]
                for row, node in zip(values, output.cut(topology.nodes), strict=True)
            ],
        )
        return
    _print(topology, columns, values)


def document(kernel: Kernel, topology: Topology, nodes: Sequence[Node]) -> dict[str, Any]:
    """Schema numatui/nodes/1, without what --watch adds."""
    return {
        "source": kernel.source, "host": output.exact(kernel.name), "page_size": kernel.page_size,
        "nodes": [_document(node, topology) for node in nodes],
        "offline_cpus": list(topology.offline_cpus), "warnings": list(topology.warnings),
    }  # fmt: skip


def _print_activity(
    kernel: Kernel, topology: Topology, activity: Activity, at: float, first: bool, json: bool, csv: bool
) -> None:
    if json:
        more = {
            "at": at,
            "busy": {str(node): share for node, share in activity.busy.items()},
            "rates": {str(node): dict(rates) for node, rates in activity.rates.items()},
            "machine_rates": dict(activity.machine),
        }
        output.print_json("nodes", {**document(kernel, topology, output.cut(topology.nodes)), **more}, line=True)
        return
    rows: list[list[Any]] = []
    for node in output.cut(topology.nodes):
        rates = activity.rates.get(node.id, {})
        rows.append(
            [
                round(at, 3),
                node.id,
                activity.busy.get(node.id),
                node.free,
                *[rates.get(name) for name in _RATES],
            ]
        )
    if csv:
        output.print_csv(
            ["at", "id", "busy", "free_bytes", *[f"{name}_pages_per_second" for name in _RATES]],
            [["" if value is None else value for value in row] for row in rows],
            heading=first,
        )
        return
    moved = activity.machine.get("pgmigrate_success", 0.0)
    heads = [">AT", ">NODE", ">CPU", ">FREE", ">HIT/s", ">MISS/s", ">FOREIGN/s", ">OTHER/s"]
    output.print_table(
        heads,
        [
            [f"{row[0]:.1f}", str(row[1]), output.percent(row[2]), output.size(row[3]), *map(_rate, row[4:])]
            for row in rows
        ],
    )
    bytes_moved = f", {output.size(moved * kernel.page_size)}/s" if moved else ""
    sys.stdout.write(f"    migrated {_rate(moved)} pages/s{bytes_moved}\n\n")


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 10 or not value else f"{value:.1f}"


def _uses(node: Node) -> dict[str, int]:
    return {
        "file": node.memory.get("FilePages", 0),
        "anon": node.memory.get("AnonPages", 0),
        "huge": sum(pool.size * pool.total for pool in node.huge_pools),
    }


def _document(node: Node, topology: Topology) -> dict[str, Any]:
    return {
        "id": node.id,
        "cpus": list(node.cpus),
        "nearest_with_cpus": list(topology.nearest_with_cpus(node.id)),
        "total": node.total,
        "free": node.free,
        **_uses(node),
        "low_watermark_pages": topology.low_watermarks.get(node.id),
        "memory": node.memory,
        "distances": {str(other): value for other, value in node.distances.items()},
        "numastat": node.numastat,
        "huge_pools": [
            {"size": pool.size, "total": pool.total, "free": pool.free, "surplus": pool.surplus}
            for pool in node.huge_pools
        ],
        "access": dict(node.access),
    }


def _print(topology: Topology, columns: list[str], values: list[list[Any]]) -> None:
    heads: list[str] = [
        f">{columns[0].upper()}", "CPUS", *[f">{name.upper()}" for name in columns[2:]],
        *[f">→{node.id}" for node in topology.nodes],
    ]  # fmt: skip
    has_access = any(node.access for node in topology.nodes)
    if has_access:
        heads += [">LATENCY", ">BANDWIDTH"]
    rows: list[list[str]] = []
    for node, row in zip(output.cut(topology.nodes), values, strict=True):
        near = topology.nearest_with_cpus(node.id)
        bare = f"none (nearest: node {near})" if near else "none"
        cells = [str(row[0]), row[1] or bare, *[output.size(amount) for amount in row[2:]]]
        cells += [str(node.distances.get(other.id, "?")) for other in topology.nodes]
        if has_access:
            latency, bandwidth = node.access.get("read_latency"), node.access.get("read_bandwidth")
            cells += [f"{latency} ns" if latency else "-", f"{bandwidth} MiB/s" if bandwidth else "-"]
        rows.append(cells)
    output.print_table(heads, rows, flexible=1)
    if topology.offline_cpus:
        output.note(f"offline CPUs: {topology.offline_cpus}")
    for warning in topology.warnings:
        output.note(f"note: {warning}")
