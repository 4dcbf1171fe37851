"""`numatui show PID`: one process by VMA, and where its threads run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.errors import NotSupported
from backend.placement import Vma, read_placement
from backend.process import read_process, read_threads
from backend.topology import read_topology
from numatui.cli import output
from numatui.cli.source import kernel_of


def show(
    context: typer.Context,
    pid: Annotated[int, typer.Argument(help="The process.")],
    all_vmas: Annotated[bool, typer.Option("--all", help="Also VMAs with no resident page.")] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Show one process by VMA: address, kind, policy, pages per node, page size; and its threads.

    Example: numatui show 4242
    """
    kernel = kernel_of(context)
    topology = read_topology(kernel)
    process = read_process(kernel, pid)
    if process.is_kernel_thread:
        raise NotSupported(f"{pid} is a kernel thread: it has no memory of its own", "choose a process")
    placement = read_placement(kernel, pid, with_maps=True)
    vmas = [vma for vma in placement.vmas if vma.pages or all_vmas]
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
                "vmas": [_document(vma) for vma in vmas], "threads": threads,
            },
        )  # fmt: skip
        return
    if csv:
        output.print_csv(
            ["start", "end", "kind", "policy", "page_size", "file", *[f"node{node}" for node in ids]],
            [
                [
                    f"{vma.start:x}",
                    f"{vma.end:x}",
                    vma.kind,
                    vma.policy,
                    vma.page_size,
                    vma.file,
                    *[vma.pages.get(n, 0) for n in ids],
                ]
                for vma in vmas
            ],
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
    rows = [
        [f"{vma.start:x}", vma.kind, vma.policy, output.size(vma.page_size),
         *[output.size(vma.pages.get(node, 0) * vma.page_size) for node in ids], output.printable(vma.file, 120)]
        for vma in vmas
    ]  # fmt: skip
    by_node = placement.bytes_by_node
    rows.append(["total", "", "", "", *[output.size(by_node.get(node, 0)) for node in ids], ""])
    output.print_table(heads, rows, flexible=len(heads) - 1)
    hidden = len(placement.vmas) - len(vmas)
    if hidden:
        output.note(f"{hidden} VMAs without resident pages are left out (--all shows them)")


def _document(vma: Vma) -> dict[str, Any]:
    return {
        "start": f"{vma.start:x}",
        "end": f"{vma.end:x}" if vma.end else None,
        "kind": vma.kind,
        "policy": output.exact(vma.policy),
        "file": output.exact(vma.file),
        "page_size": vma.page_size,
        "nodes": {str(node): count for node, count in vma.pages.items()},
        **vma.counts,
    }
