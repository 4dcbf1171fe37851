"""`numatui heat PID`: how much of a process's memory is used, mapping by mapping, and on which nodes that lies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.heat.grid import by_mapping, cells
from backend.heat.heat import Heat, HeatRange
from backend.heat.learn import learn
from backend.machine.topology import Topology, read_topology
from backend.process.process import Process, read_stat
from backend.process.running import read_running
from backend.selection.selection import select
from numatui.cli.move.heat_options import Hold, WayName, Window, Windows, wish_of
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.selecting import Pids, SelectOptions
from numatui.cli.source import kernel_of

_CELLS = 64


def heat(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pids: Pids = None,
    window: Window = "1s",
    windows: Windows = 3,
    hold: Hold = "100ms",
    way: WayName = "auto",
    everything: Annotated[bool, typer.Option("--all", help="Also mappings of which nothing is hot.")] = False,
    picture: Annotated[bool, typer.Option("--map", help="Where in its mappings the hot memory is.")] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Show how much of the memory of a process is used within a time, mapping by mapping, and on which nodes it lies.

    By DAMON, where that can be had; else it clears the accessed bits of the process's pages and looks which have come
    back: for a while the kernel then judges worse which pages to reclaim.

    Example: numatui heat 4242 --window 5s
    """
    selection = selecting.of(pids)
    if selection.is_everybody:
        raise UsageError("no process is named", "give a pid, or select processes: --match, --user, --cgroup …")
    wish = wish_of("hot", window, windows, way, hold)
    kernel = kernel_of(context)
    topology = read_topology(kernel)
    processes = select(kernel, selection)
    several = len(processes) > 1
    for number, process in enumerate(processes):
        if process.is_kernel_thread:
            raise NotSupported(f"{process.pid} is a kernel thread: it has no memory of its own", "choose a process")
        try:
            nodes = topology.node_of_cpu
            before = read_running(kernel, read_stat(kernel, process.pid), nodes, None)
            with cancelled_by_signals() as cancel:
                found = learn(kernel, topology, process, wish, cancel)
            places = read_running(kernel, read_stat(kernel, process.pid), nodes, before).shares
        except (NotFound, NotPermitted) as exc:
            if process.pid in selection.pids or not several:
                raise
            output.note(f"{process.pid}: {exc.what}")
            continue
        if json:
            output.print_json("heat", _document(kernel.source, process, found, places), line=several)
        elif csv:
            _print_csv(found, topology, number == 0)
        else:
            if number:
                print()
            _print_head(found, process, places)
            if picture:
                _print_map(found, everything)
            else:
                _print(found, topology, everything)
            _print_notes(found)


def _print_head(found: Heat, process: Process, places: dict[int, float]) -> None:
    share = found.hot / found.resident if found.resident else 0.0
    print(f"{process.pid} {output.printable(process.command, 200)}")
    told = f"{output.size(found.hot)} of {output.size(found.resident)} ({output.percent(share)}) used within "
    print(told + f"{output.duration(found.seconds)}{_local(found, places)}")


def _print_map(found: Heat, everything: bool) -> None:
    rows = [
        [
            f"{one.start:x}", output.size(one.resident), output.size(one.hot),
            "".join(_cell(cell) for cell in cells(one.ranges, one.start, one.end, _CELLS)),
            output.printable(one.name, 120),
        ]
        for one in output.cut(one for one in by_mapping(found.ranges) if one.hot or everything)
    ]  # fmt: skip
    output.print_table(["ADDRESS", ">RESIDENT", ">HOT", "WHERE", "MAPPING"], rows, flexible=4)
    output.note(
        "WHERE: a mapping from its beginning to its end; 1 to 9: how much is hot; . = nothing; blank = not there"
    )


def _cell(share: float | None) -> str:
    return " " if share is None else "." if share <= 0 else str(max(1, min(9, int(share * 9 + 0.5))))


def _print(found: Heat, topology: Topology, everything: bool) -> None:
    ids = list(topology.memory_ids)
    share = found.hot / found.resident if found.resident else 0.0
    rated = any(one.rate for one in found.ranges)
    ranges = sorted((one for one in found.ranges if one.hot or everything), key=_hottest_first)
    rows = [
        [
            f"{one.start:x}", output.size(one.resident), output.size(one.hot), output.percent(one.share),
            *([f"{one.rate or 0:.0f}/s"] if rated else []),
            *[_about(one) + output.size(one.hot_by_node.get(node, 0)) for node in ids],
            output.printable(one.name, 120),
        ]
        for one in output.cut(ranges)
    ]  # fmt: skip
    total = found.hot_by_node
    about = "" if all(one.exact for one in found.ranges) else "~"
    rows.append(
        [
            "total", output.size(found.resident), output.size(found.hot), output.percent(share),
            *([""] if rated else []),
            *[about + output.size(total.get(node, 0)) for node in ids], "",
        ]
    )  # fmt: skip
    heads = [
        "ADDRESS",
        ">RESIDENT",
        ">HOT",
        ">SHARE",
        *([">SEEN"] if rated else []),
        *[f">HOT@N{node}" for node in ids],
        "MAPPING",
    ]
    output.print_table(heads, rows, flexible=len(heads) - 1)


def _print_notes(found: Heat) -> None:
    how = "by DAMON" if found.way == "damon" else "by accessed bits"
    notes = [f"{how}, {found.windows} times, which took {output.duration(found.cost)} of work"]
    if found.why:
        notes[0] += f" ({output.printable(found.why, 200)})"
    if found.windows > 1:
        notes.append(f"the windows were alike to {output.percent(found.steady)}")
    if not all(one.exact for one in found.ranges):
        unknown = "was hot at times" if found.way == "damon" else "of a mapping it is not known which pages are hot"
        notes.append(f"~ = {unknown}: each node has its share")
    if found.way == "damon":
        notes.append("SEEN = accesses of a page that were seen, at most 200/s")
    output.note("; ".join(notes))


def _hottest_first(one: HeatRange) -> tuple[float, int]:
    return -(one.rate or 0), -one.hot


def _about(one: HeatRange) -> str:
    return "" if one.exact else "~"


def _local(found: Heat, places: dict[int, float]) -> str:
    share = found.hot_and_local(places)
    return "" if share is None or not places else f"; {output.percent(share)} of that on nodes where it runs"


def _print_csv(found: Heat, topology: Topology, heading: bool) -> None:
    ids = list(topology.memory_ids)
    output.print_csv(
        ["pid", "start", "end", "resident_bytes", "hot_bytes", "name", *[f"hot.{node}_bytes" for node in ids]],
        [
            [
                found.pid, f"{one.start:x}", f"{one.end:x}", one.resident, one.hot, one.name,
                *[one.hot_by_node.get(node, 0) for node in ids],
            ]
            for one in output.cut(found.ranges)
        ],
        heading=heading,
    )  # fmt: skip


def _document(source: str, process: Process, found: Heat, places: dict[int, float]) -> dict[str, Any]:
    return {
        "source": source, "pid": found.pid, "start_time": process.identity.start_time,
        "user": output.exact(process.user), "command": output.exact(process.command),
        "way": found.way, "why": found.why, "window": found.seconds, "windows": found.windows,
        "cost_seconds": found.cost,
        "resident": found.resident, "hot": found.hot, "steady": found.steady,
        "nodes": _keys(found.by_node), "hot_nodes": _keys(found.hot_by_node),
        "hot_and_local": found.hot_and_local(places),
        "ranges": [
            {
                "start": f"{one.start:x}", "end": f"{one.end:x}", "name": output.exact(one.name),
                "resident": one.resident, "hot": one.hot, "least": one.least, "most": one.most, "exact": one.exact,
                "rate": one.rate, "age": one.age, "mapping": f"{one.mapping:x}",
                "nodes": _keys(one.by_node), "hot_nodes": _keys(one.hot_by_node),
            }
            for one in output.cut(found.ranges)
        ],
    }  # fmt: skip


def _keys(amounts: dict[int, int]) -> dict[str, int]:
    return {str(node): amount for node, amount in amounts.items()}
