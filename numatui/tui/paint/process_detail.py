"""What stands beside the process table about the process under the cursor. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backend.files.text import printable
from backend.machine.topology import Topology
from backend.placement.placement import VmaPlacement
from backend.placement.survey import ProcessRow
from backend.process.process import Stat
from numatui.format import percent, size
from numatui.tui.paint import bars
from numatui.tui.paint.cells import tail
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

Lines = list[list[Piece]]


def who(row: ProcessRow, width: int, members: int = 0) -> Lines:
    """Name, user, policy; of a group its size. Two lines."""
    process = row.process
    name = [(f" ({members})" if members else f" {process.pid}", "bold"), (f" {printable(process.user, 16)}", "key")]
    allowed = f", memory of {process.mems_allowed}" if process.mems_allowed else ""
    return [
        [*name, ("  " + printable(process.command, max(8, width - 24)), "")],
        [
            (f" {size(row.resident)}", "bold"),
            (f"  local {percent(row.local)}", ""),
            (f"  {printable(row.policy, 20)}{allowed}", "dim"),
        ],
    ]


def mappings(
    vmas: Sequence[VmaPlacement], here: int | None, width: int, most: int, glyphs: Glyphs, plain: bool
) -> Lines:
    """The largest mappings, each with its bar; what is left as a sum."""
    ordered = sorted((vma for vma in vmas if vma.pages), key=lambda vma: -sum(vma.bytes_by_node.values()))
    lines: Lines = [[(f" Mappings {len(ordered)}", "bold")]]
    name = max(8, width // 2 - 8)
    for vma in ordered[: max(0, most - 1)]:
        text = tail(printable(vma.file, 4096), name) if vma.file else vma.kind
        lines.append(
            [
                (f" {text:<{name}}", ""), (f" {size(sum(vma.bytes_by_node.values())):>5} ", ""),
                *bars.placement(vma.bytes_by_node, here, max(4, width - name - 9), glyphs, plain),
            ]
        )  # fmt: skip
    return lines


def threads_by_node(threads: Sequence[Stat], topology: Topology, width: int, most: int) -> Lines:
    """How many threads last ran on each node, and the first of them."""
    counts: dict[int | None, int] = {}
    for one in threads:
        node = topology.node_of_cpu.get(one.cpu)
        counts[node] = counts.get(node, 0) + 1
    heading: list[Piece] = [(f" Threads {len(threads)}", "bold"), ("  last ran on", "dim")]
    for node, count in sorted(counts.items(), key=lambda one: -one[1])[: max(1, width // 10)]:
        heading.append((f"  {'?' if node is None else node}", "dim" if node is None else f"ink:{node}"))
        heading.append((f":{count}", ""))
    lines: Lines = [heading]
    for one in threads[: max(0, most - 1)]:
        node = topology.node_of_cpu.get(one.cpu)
        lines.append(
            [
                (f" {one.identity.pid:>8} ", ""), (f"{one.cpu:>4}@{'?' if node is None else node} ", ""),
                (f"{printable(one.state, 2)} ", "dim"), (printable(one.comm, max(4, width - 24)), ""),
            ]
        )  # fmt: skip
    return lines
