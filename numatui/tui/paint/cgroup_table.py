"""A cgroup as a row: memory by node, cpuset, memory outside of the cpuset. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.cgroup.cgroup_memory import CgroupMemory
from backend.cgroup.cgroup_names import Label
from backend.cgroup.cpuset_tree import CpusetInfo, above, with_ancestors
from backend.files.text import printable
from backend.nodeset import NodeSet
from numatui.format import size
from numatui.process_tree import Branch, as_tree
from numatui.tui.paint import bars
from numatui.tui.paint.cells import tail
from numatui.tui.paint.column import Column, pad
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece


@dataclass(frozen=True, slots=True)
class CgroupRow:
    """`memory`: None if the memory controller has no such cgroup. `cpuset`: None if unknown. `processes`: members of
    this cgroup, without descendants; None if unknown."""

    path: str
    label: Label
    memory: CgroupMemory | None
    cpuset: CpusetInfo | None
    processes: int | None = None

    @property
    def by_node(self) -> dict[int, int]:
        return self.memory.by_node if self.memory is not None else {}

    @property
    def total(self) -> int:
        return sum(self.by_node.values())

    @property
    def outside(self) -> int:
        """Bytes on nodes that its cpuset does not have."""
        return sum(self.memory.outside.values()) if self.memory is not None else 0


ORDERS: dict[str, Callable[[CgroupRow], Any]] = {
    "memory": lambda row: (-row.total, row.path),
    "outside": lambda row: (-row.outside, -row.total, row.path),
    "processes": lambda row: (-(row.processes or 0), row.path),
    "name": lambda row: row.path,
}
"""Sort keys for siblings, by name of the order."""


def cgroup_branches(
    rows: Sequence[CgroupRow], order: str, closed: Collection[str], wanted: str
) -> list[Branch[CgroupRow]]:
    """The rows as a tree. `closed`: paths whose descendants are hidden. `wanted`: text that the path or name contains;
    ancestors of matches are kept."""
    text = wanted.casefold()
    if text:
        kept = with_ancestors(
            row.path for row in rows if text in row.path.casefold() or text in row.label.text.casefold()
        )
        rows = [row for row in rows if row.path in kept]
    ordered = sorted(rows, key=ORDERS[order])
    return as_tree(
        ordered,
        lambda row: row.path,
        lambda row: above(row.path),
        lambda row: row.path in closed and not text,
    )


def lead_of(branch: Branch[CgroupRow] | None) -> str:
    """Text before a cgroup's name: the indent and the sign for open or closed."""
    sign = "+ " if branch and branch.folded else "- " if branch and branch.children else "  "
    return "  " * min(branch.depth if branch else 0, 20) + sign


def cgroup_columns(
    branches: Mapping[str, Branch[CgroupRow]], nodes: NodeSet, glyphs: Glyphs, plain: bool
) -> list[Column[CgroupRow]]:
    """The columns. Cells read `branches` when they are drawn."""
    largest = max((branch.row.total for branch in branches.values()), default=0)

    def name(row: CgroupRow, width: int) -> list[Piece]:
        lead = lead_of(branches.get(row.path))[:width]
        return [(lead, "dim"), (pad(printable(row.label.text, width + 1), width - len(lead), "left"), "")]

    def amount(node: int) -> Callable[[CgroupRow, int], Piece]:
        def cell(row: CgroupRow, _: int) -> Piece:
            if row.memory is None or row.memory.kinds is None:
                return ("-", "dim")
            there = row.by_node.get(node, 0)
            out = node in row.memory.outside
            return (size(there) + ("!" if out else " "), "far" if out else "" if there else "dim")

        return cell

    def bar(row: CgroupRow, width: int) -> list[Piece]:
        """As long as the logarithm of its memory: a service among large ones still has room for its nodes."""
        return bars.scaled(row.by_node, None, largest, width, "log", glyphs, plain)

    def mems(row: CgroupRow, width: int) -> Piece:
        if row.cpuset is None:
            return ("-", "dim")
        text = str(row.cpuset.effective_mems) or "none"
        return (pad(text, width, "left"), "" if row.cpuset.own else "dim")

    def outside(row: CgroupRow, _: int) -> Piece:
        return (size(row.outside) + "!", "far") if row.outside else (". ", "dim")

    return [
        Column("name", "CGROUP", 22, name, most=60),
        Column("memory", "MEMORY", 7, lambda row, _: size(row.total), "right"),
        *[Column(f"n{node}", f"N{node}", 6, amount(node), "right", rank=4) for node in nodes],
        Column(
            "placement",
            "PLACEMENT",
            12,
            bar,
            rank=2,
            most=30,
        ),
        Column("mems", "MEMS", 8, mems, rank=1, most=14),
        Column(
            "cpus",
            "CPUS",
            8,
            lambda row, width: tail(str(row.cpuset.effective_cpus) if row.cpuset else "-", width),
            rank=5,
            most=16,
        ),
        Column("outside", "OUTSIDE", 7, outside, "right", rank=1),
        Column(
            "processes",
            "PROCS",
            5,
            lambda row, _: "-" if row.processes is None else str(row.processes),
            "right",
            rank=3,
        ),
    ]
