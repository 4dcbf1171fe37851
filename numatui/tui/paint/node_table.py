"""A node as a row: memory by use, load, allocations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backend.machine.topology import Node, Topology, Watermarks
from backend.nodeset import NodeSet
from numatui.format import count, percent, size
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

KINDS = (
    ("anon", "anonymous memory", ("AnonPages",)),
    ("file", "files", ("FilePages", "-Shmem")),
    ("shmem", "shared memory and tmpfs", ("Shmem",)),
    ("slab", "kernel objects", ("Slab",)),
    ("huge", "hugetlb pages", ()),
    ("kernel", "page tables, stacks of the kernel", ("PageTables", "KernelStack")),
)
"""Uses of memory: name, description, fields of the node's meminfo to sum (`-`: to subtract)."""
NEAR = 1.5
"""Free memory below `NEAR` times the low watermark is marked: reclaim is about to begin."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """`busy`: share of its CPUs' time. `rates`: pages a second, by counter. `marks`: bytes. `tier`: None if the kernel
    has no memory tiers. `nearest`: the nodes with the nearest CPUs."""

    node: Node
    busy: float | None
    rates: dict[str, float]
    marks: Watermarks
    tier: int | None = None
    nearest: NodeSet = field(default_factory=NodeSet)

    @property
    def short(self) -> bool:
        """Whether the kernel reclaims on this node, or soon will."""
        free = self.node.free
        return self.node.has_memory and bool(self.marks.low) and free is not None and free < self.marks.low * NEAR


def kinds_of(node: Node) -> dict[str, int]:
    """Bytes by use. `other`: used memory of no known kind. With `free`, they sum to the node's memory; where that is
    unknown, they do not."""
    out: dict[str, int] = {}
    for name, _, keys in KINDS:
        amount = sum(-node.memory.get(key[1:], 0) if key.startswith("-") else node.memory.get(key, 0) for key in keys)
        if name == "huge":
            amount = sum(pool.size * pool.total for pool in node.huge_pools)
        if amount > 0:
            out[name] = amount
    if node.free is not None:
        rest = node.total - node.free - sum(out.values())
        if rest > 0:
            out["other"] = rest
        out["free"] = node.free
    return out


def kinds_bar(node: Node, width: int, glyphs: Glyphs, shades: bool = False) -> list[Piece]:
    """A stacked bar. Each part begins with the first letter of its kind; free memory is empty, `?` is what nobody
    tells. A kind has the same colour on all nodes; with `shades`, the parts are shades of the node's own."""
    parts = kinds_of(node)
    total = max(sum(parts.values()), node.total)
    if not total or width < 1:
        return [(" " * width, "")]
    out: list[Piece] = []
    done = spent = step = 0
    for name, amount in parts.items():
        spent += amount
        cells = round(spent / total * width) - done
        done += cells
        if cells <= 0:
            continue
        if name == "free":
            out.append((glyphs.empty * cells, "dim"))
        else:
            out.append((name[0].ljust(cells), f"shade:{node.id}.{step}" if shades else f"kind:{_ORDER[name]}"))
            step += 1
    if done < width:
        out.append(("?".ljust(width - done), "dim"))
    return out


_ORDER = {name: number for number, (name, _, _) in enumerate(KINDS)} | {"other": len(KINDS)}


def node_rows(
    topology: Topology,
    busy: dict[int, float],
    rates: dict[int, dict[str, float]],
    tiers: dict[int, int],
    page_size: int,
) -> list[NodeRow]:
    """A row for each node. The watermarks of `topology` are in pages of `page_size` bytes."""
    out: list[NodeRow] = []
    for node in topology.nodes:
        marks = topology.watermarks.get(node.id, Watermarks())
        scaled = Watermarks(marks.min * page_size, marks.low * page_size, marks.high * page_size)
        nearest = topology.nearest_with_cpus(node.id)
        out.append(NodeRow(node, busy.get(node.id), rates.get(node.id, {}), scaled, tiers.get(node.id), nearest))
    return out


def node_columns(glyphs: Glyphs, rows: Sequence[NodeRow]) -> list[Column[NodeRow]]:
    """The columns. Rates are pages a second, as in numastat. Hit: allocated here as intended. Miss: allocated here,
    intended for another node. Out (numa_foreign): intended for this node, allocated elsewhere."""

    def rate(name: str) -> Callable[[NodeRow, int], Piece]:
        def cell(row: NodeRow, _: int) -> Piece:
            value = row.rates.get(name)
            return ("-" if value is None else count(value), "dim" if not value else "")

        return cell

    def used(row: NodeRow, width: int) -> list[Piece]:
        if not row.node.has_memory:
            return [("no memory".ljust(width)[:width], "dim")]
        return kinds_bar(row.node, width, glyphs)

    def free(row: NodeRow, _: int) -> Piece:
        return (size(row.node.free) + ("!" if row.short else " "), "far" if row.short else "")

    def load(row: NodeRow, _: int) -> Piece:
        if not row.node.cpus:
            return ("no CPU", "dim")
        return (percent(row.busy), "warn" if (row.busy or 0) > 0.9 else "")

    tiers = any(row.tier is not None for row in rows)
    columns: list[Column[NodeRow]] = [
        Column("node", "NODE", 4, lambda row, _: (str(row.node.id), f"ink:{row.node.id}"), "right"),
        Column("memory", "MEMORY", 10, used, rank=1, most=48),
        Column("total", "TOTAL", 5, lambda row, _: size(row.node.total), "right", rank=2),
        Column("free", "FREE", 6, free, "right"),
        Column("load", "CPU", 6, load, "right"),
        Column("hit", "HIT/s", 6, rate("numa_hit"), "right", rank=3),
        Column("miss", "MISS/s", 6, rate("numa_miss"), "right", rank=1),
        Column("out", "OUT/s", 6, rate("numa_foreign"), "right", rank=1),
        Column("other", "OTHER/s", 7, rate("other_node"), "right", rank=4),
    ]
    if tiers:
        columns.append(
            Column("tier", "TIER", 4, lambda row, _: "-" if row.tier is None else str(row.tier), "right", rank=4)
        )
    return columns
