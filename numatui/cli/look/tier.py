"""`numatui tier`: nodes by the speed of their memory, and who moves pages between them."""

from __future__ import annotations

from typing import Any

import typer

from backend.kernel import Kernel
from backend.machine.migrators import MIGRATORS, Migrator, by_migrator
from backend.machine.tier_view import Tier, TierView, read_tier_view
from backend.machine.topology import Node, Topology, read_topology
from numatui.cli.look.rates import activities
from numatui.cli.printing import output
from numatui.cli.printing.watching import Count, Watch, interval_of
from numatui.cli.source import kernel_of

_BY: dict[Migrator, str] = {
    "balancing": "NUMA balancing",
    "promotion": "promotion to a faster tier",
    "demotion": "demotion to a slower tier",
    "others": "system calls, cpusets, compaction, offlining",
}


def tier(
    context: typer.Context,
    layout: output.Layout,
    watch: Watch = None,
    count: Count = None,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List memory tiers with latency and bandwidth, what the kernel moves between them, and who migrates pages.

    With --watch: pages migrated a second, by who moves them.

    Example: numatui tier --watch 1
    """
    interval = interval_of(watch, count)
    kernel = kernel_of(context)
    if interval is not None:
        _watch(kernel, interval, count, json, csv)
        return
    topology = read_topology(kernel)
    view = read_tier_view(kernel, topology)
    if json:
        output.print_json("tier", _document(kernel, view))
    elif csv:
        output.print_csv(
            ["tier", "id", "cpus", "total_bytes", "free_bytes", "read_latency", "read_bandwidth",
             "demoted_pages", "promoted_pages"],
            [
                [one.number, node.id, str(node.cpus), node.total, node.free, node.access.get("read_latency"),
                 node.access.get("read_bandwidth"), view.demoted.get(node.id), view.promoted.get(node.id)]
                for one in view.tiers for node in one.nodes
            ],
        )  # fmt: skip
    else:
        _print(kernel, topology, view)


def _print(kernel: Kernel, topology: Topology, view: TierView) -> None:
    size = kernel.page_size
    rows = [
        [
            "-" if tier.number is None else str(tier.number), str(node.id), str(node.cpus) or "none",
            output.size(node.total), output.size(node.free), _figure(node, "read_latency", "ns"),
            _figure(node, "read_bandwidth", "MB/s"), _pages(view.demoted.get(node.id), size),
            _pages(view.promoted.get(node.id), size),
        ]
        for tier in view.tiers
        for node in tier.nodes
    ]  # fmt: skip
    heads = [">TIER", ">NODE", "CPUS", ">TOTAL", ">FREE", ">LATENCY", ">BANDWIDTH", ">DEMOTED", ">PROMOTED"]
    output.print_table(heads, rows)
    print(_by_itself(view))
    if view.migrated:
        parts = [
            f"{_BY[name]} {output.size(view.migrated[name] * size)}" for name in MIGRATORS if name in view.migrated
        ]
        print(f"migrated since boot: {', '.join(parts)}")
    notes = ["TIER: a smaller number is faster; DEMOTED, PROMOTED: left this node for a slower tier, came from one"]
    if len(view.tiers) < 2:
        notes.append("there is one tier only" if view.tiers and view.tiers[0].number is not None else
                     "this kernel does not tell tiers (Linux 6.1 has them)")  # fmt: skip
    output.note("; ".join(notes))


def _by_itself(view: TierView) -> str:
    down = {None: "has no demotion", True: "demotes what is cold when memory is short", False: "demotes nothing"}
    up = "promotes what is hot" if view.promotes else "promotes nothing"
    limit = f", at most {output.size(view.promotion_limit)}/s" if view.promotes and view.promotion_limit else ""
    return f"the kernel by itself: {down[view.demotion]}; {up}{limit}"


def _figure(node: Node, name: str, unit: str) -> str:
    value = node.access.get(name)  # type: ignore[arg-type]
    return "-" if value is None else f"{value} {unit}"


def _pages(count: int | None, page_size: int) -> str:
    return "-" if count is None else output.size(count * page_size)


def _watch(kernel: Kernel, interval: int, count: int | None, json: bool, csv: bool) -> None:
    for number, (at, topology, activity) in enumerate(activities(kernel, interval, count)):
        rates = by_migrator(activity.machine)
        if json:
            document = _document(kernel, read_tier_view(kernel, topology))
            output.print_json("tier", {**document, "at": at, "rates": dict(rates)}, line=True)
        elif csv:
            output.print_csv(
                ["at", *[f"{name}_pages_per_second" for name in MIGRATORS]],
                [[round(at, 3), *[rates.get(name, "") for name in MIGRATORS]]],
                heading=number == 0,
            )
        else:
            _print_rates(rates, at, kernel.page_size, number == 0)


def _print_rates(rates: dict[Migrator, float], at: float, page_size: int, first: bool) -> None:
    if not rates:
        print(f"{at:>8.1f}  the kernel does not count migrated pages")
        return
    if first:
        print(f"{'AT':>8}" + "".join(f"{name.upper() + '/s':>14}" for name in MIGRATORS))
    cells = ["-" if name not in rates else output.size(rates[name] * page_size) for name in MIGRATORS]
    print(f"{at:>8.1f}" + "".join(f"{cell:>14}" for cell in cells))


def _document(kernel: Kernel, view: TierView) -> dict[str, Any]:
    return {
        "source": kernel.source, "host": output.exact(kernel.name), "page_size": kernel.page_size,
        "tiers": [_tier(tier, view) for tier in view.tiers],
        "demotion": view.demotion, "balancing": view.balancing, "promotes": view.promotes,
        "promotion_limit": view.promotion_limit, "migrated": dict(view.migrated),
    }  # fmt: skip


def _tier(tier: Tier, view: TierView) -> dict[str, Any]:
    return {
        "tier": tier.number, "total": tier.total, "free": tier.free,
        "nodes": [
            {
                "id": node.id, "cpus": list(node.cpus), "total": node.total, "free": node.free,
                "read_latency": node.access.get("read_latency"), "read_bandwidth": node.access.get("read_bandwidth"),
                "demoted_pages": view.demoted.get(node.id),
                "promoted_pages": view.promoted.get(node.id),
            }
            for node in tier.nodes
        ],
    }  # fmt: skip
