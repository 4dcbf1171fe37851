"""The columns of the process table. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from backend.files.text import printable
from backend.machine.access_cost import read_costs
from backend.machine.topology import Topology
from backend.placement.survey import ProcessRow
from numatui.format import size
from numatui.tui.model.filtering import cost, far_bytes
from numatui.tui.model.groups import GroupRow
from numatui.tui.model.listing import Listing
from numatui.tui.paint import bars
from numatui.tui.paint.cells import (
    cost_cell,
    load_cell,
    local_cell,
    nice_cell,
    node_cell,
    node_order,
    pid_cell,
    tail,
    time_cell,
    where,
)
from numatui.tui.paint.column import Column, pad
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

CHOICES = {
    "user": "user",
    "state": "state: running, sleeping, waiting for a device (D), zombie",
    "nice": "nice value: from -20, the most processor time, to 19",
    "threads": "number of threads",
    "cpu": "CPU it last ran on, and that CPU's node",
    "load": "processor time since the last reading, in % of one CPU",
    "time": "processor time since it began",
    "rss": "resident memory",
    "swap": "memory in swap",
    "local": "share of its memory where it runs",
    "cost": "how much farther its memory is than local memory",
    "nodes": "memory on each node",
    "placement": "where its memory lies, as a bar",
    "policy": "memory policy",
    "cpuset": "cpuset",
    "cgroup": "cgroup that its memory is charged to",
    "moved": "when numatui moved its memory, and from where to where",
}
"""The columns that users can choose, in order, with descriptions. Mark, pid and command are always shown."""
DEFAULT = ("user", "cpu", "load", "rss", "local", "nodes", "placement", "policy", "cpuset")
_PINNED = ("mark", "pid", "command")
_OF_SEVERAL = ("local", "cost", "nodes", "placement")
"""Columns that say nothing where only one node has memory."""
LARGE = 100
"""What is far stands out from a `LARGE`th of the machine's memory up."""


def process_columns(
    listing: Listing,
    topology: Topology,
    glyphs: Glyphs,
    plain: bool,
    chosen: Collection[str] = DEFAULT,
) -> list[Column[ProcessRow]]:
    """The chosen columns, and the column by which the table is sorted. Cells read `listing` when they are drawn.
    `plain`: for screens without colours. Columns that say nothing are gone: with one node
    that has memory, without cpusets."""
    costs = read_costs(topology)

    def mark(row: ProcessRow, _: int) -> Piece:
        return (glyphs.mark if listing.is_tagged(row) else " ", "tag")

    def by_whom(row: ProcessRow) -> str | None:
        return listing.moved.get(row.process.identity)

    def command(row: ProcessRow, width: int) -> list[Piece]:
        prefix = listing.prefix(row, glyphs)[:width]
        name = pad(printable(row.process.command, width + 1), width - len(prefix), "left")
        return [(prefix, "dim"), (name, "bold" if row.process.pid < 0 else "")]

    def bar(row: ProcessRow, width: int) -> list[Piece]:
        if row.by_node is None:
            return bars.placement(None, None, width, glyphs)
        here = -1 if row.node is None and not isinstance(row, GroupRow) else row.node
        return bars.scaled(row.by_node, here, listing.largest, width, listing.scale, glyphs, plain)

    extent = listing.extent
    large = sum(node.total for node in topology.nodes) // LARGE
    pid_width, user_width, about = max(5, extent.pid), min(12, max(4, extent.user)), extent.sampled
    cpu_width = max(5, len(f"{extent.cpu}@{max(topology.ids, default=0)}"))
    columns: list[Column[ProcessRow]] = [
        Column("mark", "", 1, mark),
        Column("pid", "PID", pid_width, pid_cell, "right", order=lambda row: row.process.pid),
        Column(
            "user",
            "USER",
            user_width,
            lambda row, width: printable(row.process.user, width + 1),
            rank=4,
            order=lambda row: row.process.user,
        ),
        Column(
            "command",
            "COMMAND",
            14,
            command,
            good=24,
            most=40 if listing.tree else 34,
            spare=True,
            order=lambda row: row.process.command.casefold(),
        ),
        Column("state", "S", 1, lambda row, _: row.process.state[:1], rank=8, order=lambda row: row.process.state),
        Column("nice", "NI", 3, nice_cell, "right", rank=8, order=lambda row: row.process.nice),
        Column(
            "threads",
            "THR",
            4,
            lambda row, _: str(row.process.threads),
            "right",
            rank=8,
            order=lambda row: row.process.threads,
            descending=True,
        ),
        Column(
            "cpu",
            "CPU@N",
            cpu_width,
            lambda row, _: where(row),
            "right",
            rank=2,
            order=lambda row: (-1 if row.node is None else row.node, row.process.cpu),
        ),
        Column("load", "CPU%", 5, load_cell, "right", rank=2, order=lambda row: row.load, descending=True),
        Column("time", "TIME", 8, time_cell, "right", rank=9, order=lambda row: row.process.ticks, descending=True),
        Column(
            "rss",
            "RSS",
            5,
            lambda row, _: size(row.resident),
            "right",
            rank=1,
            order=lambda row: row.resident,
            descending=True,
        ),
        Column(
            "swap",
            "SWAP",
            5,
            lambda row, _: size(row.process.swap),
            "right",
            rank=8,
            order=lambda row: row.process.swap,
            descending=True,
        ),
        Column("local", "LOCAL", 6 + about, local_cell(large), "right", rank=1, order=lambda row: row.local),
        Column(
            "cost",
            "COST",
            5,
            lambda row, _: cost_cell(cost(row, costs)),
            "right",
            rank=8,
            order=lambda row: cost(row, costs),
            descending=True,
        ),
        *[
            Column(
                f"n{node}",
                f"N{node}",
                5 + about,
                node_cell(node),
                "right",
                rank=5,
                order=node_order(node),
                descending=True,
            )
            for node in topology.memory_ids or topology.ids
        ],
        Column("placement", "PLACEMENT", 12, bar, rank=3, most=32, order=far_bytes, descending=True),
        Column(
            "policy",
            "POLICY",
            10,
            lambda row, width: (printable(row.policy, width + 1), "dim" if row.policy == "default" else ""),
            rank=6,
            most=16,
            order=lambda row: row.policy,
        ),
        Column(
            "cpuset",
            "CPUSET",
            10,
            lambda row, width: (
                tail(printable(row.process.cpuset, 512), width),
                "dim" if row.process.cpuset == "/" else "",
            ),
            rank=7,
            most=24,
            order=lambda row: row.process.cpuset,
        ),
        Column(
            "cgroup",
            "CGROUP",
            14,
            lambda row, width: (
                tail(printable(row.process.cgroup, 512), width),
                "dim" if row.process.cgroup == "/" else "",
            ),
            rank=9,
            most=40,
            order=lambda row: row.process.cgroup,
        ),
        Column(
            "moved",
            "MOVED",
            16,
            lambda row, width: printable(by_whom(row) or "", width + 1),
            rank=9,
            most=30,
            order=by_whom,
        ),
    ]
    wanted = {*_PINNED, *chosen}
    if len(topology.memory_ids) == 1:
        wanted.difference_update(_OF_SEVERAL)
    if not extent.cpusets:
        wanted.discard("cpuset")
    own = [one for one in chosen if one not in DEFAULT]
    shown = [column for column in columns if _choice(column.id) in wanted or column.id == listing.sort]
    return [_ranked(column, wanted, own) for column in shown]


def _choice(column: str) -> str:
    """Name in `CHOICES`. The columns of all nodes share one name."""
    return "nodes" if column[0] == "n" and column[1:].isdigit() else column


def _ranked(column: Column[ProcessRow], wanted: Collection[str], own: Sequence[str]) -> Column[ProcessRow]:
    """What is there only because the table is sorted by it is always shown. What a user has chosen beside the usual
    (`own`) comes before memory by node and placement: they asked for it."""
    name = _choice(column.id)
    if name not in wanted:
        return replace(column, rank=1)
    return replace(column, rank=2 + (1 + own.index(name)) / 100) if name in own else column
