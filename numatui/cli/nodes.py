"""`numatui nodes`: the machine's nodes."""

from __future__ import annotations

from typing import Any

import typer

from backend.topology import Node, Topology, read_topology
from numatui.cli import output
from numatui.cli.source import kernel_of


def nodes(context: typer.Context, json: output.Json = False, csv: output.Csv = False) -> None:
    """List the nodes: memory, CPUs, distances, allocation counters, latency and bandwidth.

    Example: numatui nodes --json
    """
    kernel = kernel_of(context)
    topology = read_topology(kernel)
    if json:
        output.print_json(
            "nodes",
            {
                "source": kernel.source, "host": output.exact(kernel.name), "page_size": kernel.page_size,
                "nodes": [_document(node, topology) for node in topology.nodes],
                "offline_cpus": list(topology.offline_cpus), "warnings": list(topology.warnings),
            },
        )  # fmt: skip
        return
    columns = ["node", "cpus", "total", "free", "file", "anon", "huge"]
    values = [
        [node.id, str(node.cpus), node.total, node.free, node.memory.get("FilePages", 0), node.memory.get("AnonPages", 0),
         sum(pool.size * pool.total for pool in node.huge_pools)]
        for node in topology.nodes
    ]  # fmt: skip
    if csv:
        output.print_csv(columns, values)
        return
    _print(topology, columns, values)


def _document(node: Node, topology: Topology) -> dict[str, Any]:
    return {
        "id": node.id,
        "cpus": list(node.cpus),
        "total": node.total,
        "free": node.free,
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
    for node, row in zip(topology.nodes, values, strict=True):
        cells = [str(row[0]), row[1] or "none", *[output.size(amount) for amount in row[2:]]]
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
