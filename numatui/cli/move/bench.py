"""`numatui bench`: how fast this machine migrates, and how long a process has to wait for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.source import kernel_of
from numatui.format import parse_size

if TYPE_CHECKING:
    from backend.plan.rates import Rate


def bench(
    context: typer.Context,
    sources: Annotated[str, typer.Option("--from", metavar="SET", help="Nodes to move from.")] = "all",
    targets: Annotated[str, typer.Option("--to", metavar="SET", help="Nodes to move to.")] = "all",
    size: Annotated[str, typer.Option(help="How much memory each measurement moves.")] = "64M",
    *,
    layout: output.Layout,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer variants: a few seconds.")] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Measure how fast pages move between nodes and how long their process waits: by method, batch, workers and page
    size, on memory of its own process. plan and migrate estimate their times from the result.

    Example: numatui bench --from 0 --to 1
    """
    from backend.job.bench import bench as measure
    from backend.live.stall_target import stall_target
    from backend.plan.rates import machine_of, rates_path, save_rates

    kernel = kernel_of(context)
    topology = read_topology(kernel)
    from_set, to_set = NodeSet.parse(sources, topology.ids), NodeSet.parse(targets, topology.ids)
    with cancelled_by_signals() as cancel:
        rates = list(
            measure(
                kernel,
                topology,
                from_set,
                to_set,
                parse_size(size),
                stall_target,
                quick=quick,
                cancel=cancel,
                on_progress=_tell,
            )
        )
    if not cancel.is_set():
        save_rates(rates_path(kernel.files), machine_of(kernel, topology), rates, kernel.files)
    if json:
        output.print_json(
            "bench", {"rates": [_document(one) for one in output.cut(rates)], "complete": not cancel.is_set()}
        )
    elif csv:
        columns = ["from", "to", "huge", "method", "workers", "batch", "bytes_per_second", "stall_seconds"]
        output.print_csv(columns, [list(_document(one).values()) for one in output.cut(rates)])
    else:
        _print(rates)
    if cancel.is_set():
        raise typer.Exit(130)


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        output.note(f"measuring: {what}")


def _document(one: Rate) -> dict[str, object]:
    return {
        "from": one.source, "to": one.target, "huge": one.huge, "method": one.method, "workers": one.workers,
        "batch": one.batch, "bytes_per_second": one.rate, "stall_seconds": one.stall / 1e9,
    }  # fmt: skip


def _print(rates: list[Rate]) -> None:
    kinds = {one.huge for one in rates}
    fastest = {max((one for one in rates if one.huge == huge), key=lambda one: one.rate) for huge in kinds}
    rows = [
        [
            f"{one.source}→{one.target}",
            "huge" if one.huge else "small",
            one.method,
            str(one.workers),
            output.size(one.batch) if one.batch else "all",
            f"{output.size(one.rate)}/s",
            output.duration(one.stall / 1e9),
            "fastest" if one in fastest else "",
        ]
        for one in output.cut(rates)
    ]
    output.print_table(["MOVE", "PAGES", "METHOD", ">WORKERS", ">BATCH", ">RATE", ">STALL", ""], rows)
    for sentence in advice(rates):
        print(sentence)


def advice(rates: list[Rate]) -> list[str]:
    """Conclusions from the figures of small pages."""
    small = [one for one in rates if not one.huge]
    out: list[str] = []
    by_workers = {
        one.workers: one.rate for one in sorted(small, key=lambda one: one.rate) if one.method == "move_pages"
    }
    if len(by_workers) > 1 and 1 in by_workers:
        workers, rate = max(by_workers.items(), key=lambda item: item[1])
        if workers > 1 and rate > by_workers[1]:
            out.append(f"{workers} workers are {rate / by_workers[1]:.1f} × as fast as one")
        else:
            out.append("one worker is enough: more are not faster here")
    whole = [one.stall for one in small if one.method == "migrate_pages"]
    gentle = [one.stall for one in small if one.method == "move_pages"]
    if whole and gentle:
        out.append(
            f"migrate_pages holds a process up for {output.duration(max(whole) / 1e9)}, "
            f"move_pages for {output.duration(max(gentle) / 1e9)} at most"
        )
    return out
