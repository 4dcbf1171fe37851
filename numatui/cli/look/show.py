"""`numatui show PID`: one process by VMA, and where its threads run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.kernel import Kernel
from backend.machine.topology import Topology, read_topology
from backend.placement.locate import Shown, look
from backend.placement.placement import PAGE_NS, VmaPlacement
from backend.process.process import Process, read_threads
from backend.selection.selection import select
from numatui.cli.printing import output
from numatui.cli.selecting import Pids, SelectOptions
from numatui.cli.source import kernel_of


def show(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pids: Pids = None,
    all_vmas: Annotated[bool, typer.Option("--all", help="Also VMAs with no resident page.")] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Read numa_maps of a large process too: it has the policies, but reading it holds the process up.",
        ),
    ] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Show a process by VMA: address, kind, policy, pages per node, page size; and its threads.

    Several processes one after the other; with --json one document a line.

    Example: numatui show 4242
    """
    selection = selecting.of(pids)
    if selection.is_everybody:
        raise UsageError("no process is named", "give a pid, or select processes: --match, --user, --cgroup …")
    kernel = kernel_of(context)
    topology = read_topology(kernel)
    processes = select(kernel, selection)
    for number, process in enumerate(processes):
        if process.is_kernel_thread:
            raise NotSupported(f"{process.pid} is a kernel thread: it has no memory of its own", "choose a process")
        several = len(processes) > 1
        try:
            if several and number and not (json or csv):
                print()
            _show(kernel, topology, process, all_vmas, exact, json, csv, several, number == 0)
        except (NotFound, NotPermitted) as exc:
            if process.pid in selection.pids or not several:
                raise
            output.note(f"{process.pid}: {exc.what}")


def _show(
    kernel: Kernel, topology: Topology, process: Process, all_vmas: bool, exact: bool, json: bool, csv: bool,
    several: bool, heading: bool,
) -> None:  # fmt: skip
    """One process. `several`: it is one of several."""
    pid = process.pid
    shown = look(kernel, topology, process, exact)
    placement = shown.placement
    there = [vma for vma in placement.vmas if vma.pages or all_vmas]
    vmas = output.cut(there)
    ids = [node.id for node in topology.nodes]
    if json:
        threads = [
            {
                "tid": thread.identity.pid,
                "comm": output.exact(thread.comm),
                "cpu": thread.cpu,
                "node": topology.node_of_cpu.get(thread.cpu),
            }
            for thread in read_threads(kernel, pid)
        ]
        output.print_json(
            "show",
            {
                "source": kernel.source, "pid": pid, "start_time": process.identity.start_time,
                "user": output.exact(process.user), "command": output.exact(process.command),
                "cpuset": output.exact(process.cpuset), "base_page_size": kernel.page_size,
                "nodes": {str(node): amount for node, amount in placement.bytes_by_node.items()},
                "way": shown.way, "error": _keys(shown.error), "hidden": shown.hidden,
                "vmas": [_document(vma, shown) for vma in vmas], "threads": threads,
            },
            line=several,
        )  # fmt: skip
        return
    if csv:
        output.print_csv(
            ["start", "end", "kind", "policy", "page_size_bytes", "file", *[f"nodes.{n}_bytes" for n in ids], "pid"],
            [
                [
                    f"{vma.start:x}",
                    f"{vma.end:x}",
                    vma.kind,
                    vma.policy,
                    vma.page_size,
                    vma.file,
                    *[vma.pages.get(n, 0) * vma.page_size for n in ids],
                    pid,
                ]
                for vma in vmas
            ],
            heading=heading,
        )
        return
    where = topology.node_of_cpu.get(process.cpu)
    by_place: dict[str, int] = {}
    for thread in read_threads(kernel, pid):
        node = topology.node_of_cpu.get(thread.cpu)
        by_place["?" if node is None else str(node)] = by_place.get("?" if node is None else str(node), 0) + 1
    running = ", ".join(f"{count} on node {node}" for node, count in sorted(by_place.items()))
    print(
        f"{pid} {output.printable(process.command, 200)}\nuser {output.printable(process.user)}, "
        f"on CPU {process.cpu} (node {'?' if where is None else where}), "
        f"{process.threads} threads{f' ({running})' if running else ''}, cpuset {output.printable(process.cpuset)}"
    )
    heads: list[str] = [
        "ADDRESS", "KIND", "POLICY", ">PAGE", *[f">N{node}" for node in ids], "FILE",
    ]  # fmt: skip
    about = "~" if shown.way == "sampled" else ""
    rows = [
        [
            f"{vma.start:x}",
            vma.kind,
            vma.policy or "?",
            output.size(vma.page_size),
            *[about + output.size(vma.pages.get(node, 0) * vma.page_size) for node in ids],
            output.printable(vma.file, 120),
        ]
        for vma in vmas
    ]
    by_node = placement.bytes_by_node
    rows.append(["total", "", "", "", *[about + output.size(by_node.get(node, 0)) for node in ids], ""])
    output.print_table(heads, rows, flexible=len(heads) - 1)
    hidden = len(placement.vmas) - len(there)
    if hidden:
        output.note(f"{hidden} VMAs without resident pages are left out (--all shows them)")
    if shown.way != "numa_maps":
        output.note(_how(shown, process))


def _how(shown: Shown, process: Process) -> str:
    cost = f"but holds the process up for about {output.duration(process.rss / 4096 * PAGE_NS / 1e9)}"
    if shown.way == "pagemap":
        return f"counted page by page without holding the process up; --exact also reads policies, {cost}"
    worst = max(shown.error.values(), default=0)
    unseen = "; NUMA balancing hides pages: the error includes them" if shown.hidden else ""
    return (
        f"~ = estimated from a sample of pages; 95 % of such totals are off by at most {output.size(worst)} a node"
        f"{unseen}; root reads all pages; --exact counts them and reads policies, {cost}"
    )


def _keys(amounts: dict[int, int]) -> dict[str, int]:
    return {str(node): amount for node, amount in amounts.items()}


def _document(vma: VmaPlacement, shown: Shown) -> dict[str, Any]:
    error = shown.errors.get(vma.start)
    return {
        "start": f"{vma.start:x}",
        "end": f"{vma.end:x}" if vma.end else None,
        "kind": vma.kind,
        "policy": output.exact(vma.policy) if vma.policy not in ("", "?") else None,
        "file": output.exact(vma.file),
        "page_size": vma.page_size,
        "nodes": _keys(vma.pages),
        **vma.counts,
        **({} if error is None else {"error": _keys(error)}),
    }
