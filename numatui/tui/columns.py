"""The columns of the process table, for a machine's nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from backend.process import Identity
from backend.survey import Row
from backend.text import printable
from backend.topology import Topology
from numatui.format import percent, size
from numatui.tui import bars
from numatui.tui.glyphs import Glyphs
from numatui.tui.paint import Piece
from numatui.tui.widgets.table import Column

FAR, MIXED = 0.5, 0.8
"""A local share below the first is marked as far away, below the second as mixed."""
OLD = 10_000_000_000
"""Numbers that are older, in nanoseconds, are dimmed."""


def process_columns(
    rows: Sequence[Row], topology: Topology, tagged: Collection[Identity], glyphs: Glyphs, plain: bool
) -> list[Column[Row]]:
    """`tagged` is looked into whenever a row is drawn. `plain`: for screens without colours."""

    def mark(row: Row, _: int) -> Piece:
        return (glyphs.mark if row.process.identity in tagged else " ", "tag")

    def bar(row: Row, width: int) -> list[Piece]:
        return bars.placement(row.by_node, row.node, width, glyphs, plain)

    pid_width = max([5, *(len(str(row.process.pid)) for row in rows)])
    user_width = min(12, max([4, *(len(row.process.user) for row in rows)]))
    nodes = topology.memory_ids or topology.ids
    about = any(row.sampled for row in rows)
    cpu_width = max([5, *(len(where(row)) for row in rows)])
    return [
        Column("mark", "", 1, mark),
        Column("pid", "PID", pid_width, lambda row, _: str(row.process.pid), "right", order=lambda row: row.process.pid),
        Column("user", "USER", user_width, lambda row, width: printable(row.process.user, width + 1), rank=4, order=lambda row: row.process.user),
        Column("command", "COMMAND", 14, lambda row, width: printable(row.process.command, width + 1), good=24, most=34, order=lambda row: row.process.command.casefold()),
        Column("cpu", "CPU@N", cpu_width, lambda row, _: where(row), "right", rank=2, order=lambda row: (-1 if row.node is None else row.node, row.process.cpu)),
        Column("rss", "RSS", 5, lambda row, _: size(row.resident), "right", rank=1, order=lambda row: row.resident, descending=True),
        Column("local", "LOCAL", 6 + about, local_cell, "right", rank=1, order=lambda row: row.local),
        *[
            Column(f"n{node}", f"N{node}", 5 + about, node_cell(node), "right", rank=5, order=node_order(node), descending=True)
            for node in nodes
        ],
        Column("placement", "PLACEMENT", 12, bar, rank=3, most=32, order=far_bytes, descending=True),
        Column("policy", "POLICY", 10, lambda row, width: (printable(row.policy, width + 1), "dim" if row.policy == "default" else ""), rank=6, most=16, order=lambda row: row.policy),
        Column("cpuset", "CPUSET", 10, lambda row, width: (tail(printable(row.process.cpuset, 512), width), "dim" if row.process.cpuset == "/" else ""), rank=7, most=60, order=lambda row: row.process.cpuset),
    ]  # fmt: skip


def where(row: Row) -> str:
    """`71@2`: the CPU it last ran on, and that CPU's node."""
    return f"{row.process.cpu}@{'?' if row.node is None else row.node}"


def far_bytes(row: Row) -> int | None:
    """How much of its memory is not where it runs."""
    if row.by_node is None or not row.places:
        return None
    return round(sum(row.by_node.values()) * (1 - (row.local if row.local is not None else 1)))


def local_cell(row: Row, _: int) -> Piece:
    """The local share; what is far away also has a `!`, what is estimated a `~`."""
    share = row.local
    if share is None:
        return ("- ", "dim")
    text = ("~" if row.sampled else "") + percent(share)
    if row.age > OLD:
        return (f"{text}{'!' if share < FAR else ' '}", "dim")
    if share < FAR:
        return (f"{text}!", "far")
    return (f"{text} ", "warn" if share < MIXED else "")


def node_cell(node: int) -> Callable[[Row, int], Piece]:
    """What a process has on one node; bold where it runs, with a `~` where it is estimated, dim where it is old."""

    def cell(row: Row, _: int) -> Piece:
        if row.by_node is None:
            return ("?", "dim")
        amount = row.by_node.get(node, 0)
        role = "dim" if not amount or row.age > OLD else f"ink:{node}" if row.node == node else ""
        return (("~" if row.sampled and amount else "") + size(amount), role)

    return cell


def node_order(node: int) -> Callable[[Row], int | None]:
    """Sorting by what lies on one node."""
    return lambda row: None if row.by_node is None else row.by_node.get(node, 0)


def tail(text: str, width: int) -> str:
    """The end of a path that is too long: the part that tells one from another."""
    return text if len(text) <= width else "…" + text[-(width - 1) :]
