"""The columns of the fleet's table, and what is said of the host under the cursor. Pure."""

from __future__ import annotations

from collections.abc import Collection

from backend.files.text import printable
from backend.fleet.view import HostView
from numatui.format import age, percent, size
from numatui.tui.fleet.rows import HostRow
from numatui.tui.paint.bars import fitted
from numatui.tui.paint.column import Cell, Column, pad
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

_MOST_NODES = 8
"""Nodes of a host that are told one by one."""
_LEAST_BAR = 3
"""Cells of a node's bar, without its number."""
_MOST_BAR = 7
_SHORT = 0.05
"""Share of a node's memory: less is marked."""
_WAITING = 0.1
"""Share of time in which some task waits for memory: more is marked."""


def columns(tagged: Collection[str], marks: Glyphs) -> list[Column[HostRow]]:
    def host(row: HostRow, width: int) -> list[Piece]:
        sign = marks.mark if row.host in tagged else " "
        name = pad(printable(row.host), width - 1, "left")
        return [(sign, "tag"), (name, "dim" if row.view is None or row.error else "bold")]

    def nodes(row: HostRow, width: int) -> Cell:
        if row.error:
            return printable(row.error.removeprefix(f"{row.host} "), width), "far"
        return node_bars(row.view, width, marks) if row.view is not None else ("asking …", "dim")

    def local(row: HostRow, _: int) -> Cell:
        if row.error:
            return "", ""
        if row.memory is None or row.memory.local is None:
            return "?", "dim"
        return percent(row.memory.local), "far" if row.memory.local < 0.5 else ""

    def free(row: HostRow, _: int) -> Cell:
        return "" if row.error or row.view is None else size(row.view.free)

    def far(row: HostRow, _: int) -> Cell:
        return "" if row.error or row.memory is None else size(row.far) if row.far else "0"

    def waits(row: HostRow, _: int) -> Cell:
        if row.error:
            return "", ""
        share = row.view.pressure if row.view is not None else None
        return ("?", "dim") if share is None else (percent(share), "warn" if share >= _WAITING else "")

    def farthest(row: HostRow, width: int) -> Cell:
        if row.error or row.memory is None or not row.memory.worst:
            return "", ""
        worst = row.memory.worst[0]
        return printable(f"{size(worst.far)} {worst.command}", width)

    return [
        Column("host", "HOST", 12, host, most=26),
        Column("nodes", "USED BY NODE", 15, nodes, most=43),
        Column("free", "FREE", 5, free, "right", rank=1),
        Column("local", "LOCAL", 6, local, "right"),
        Column("far", "FAR", 5, far, "right"),
        Column("wait", "WAIT", 5, waits, "right", rank=2),
        Column("jobs", "JOBS", 9, lambda row, _: jobs(None if row.error else row.view), rank=1, most=16),
        Column("farthest", "FARTHEST", 12, farthest, rank=3, spare=True),
    ]


def jobs(view: HostView | None) -> Cell:
    if view is None or not view.jobs:
        return "", ""
    if view.running:
        return f"{view.running} running", "accent"
    return f"{view.jobs}, {view.last}", "" if view.last == "done" else "warn"


def node_bars(view: HostView, width: int, marks: Glyphs) -> list[Piece]:
    """For each node its number and how full it is: a bar, or one character of a height where bars have no room. The
    nodes that have no room are counted."""
    many = [one for one in view.nodes if one.total]
    bars = (width + 1) // max(1, len(many)) - 2 >= _LEAST_BAR
    room = max(1, (width + 1) // (2 + (_LEAST_BAR if bars else 1)))
    left = ""
    if len(many) > room:
        room = max(1, (width - 3) // 3)
        many, left = many[:room], f"+{len(many) - room}"
    cells = min(_MOST_BAR, (width + 1) // max(1, len(many)) - 2) if bars else 1
    out: list[Piece] = []
    for one in many:
        # A host may say that more is free than there is.
        share = 0.0 if one.free is None else max(0.0, min(1.0, 1 - one.free / one.total))
        short = one.free is not None and share > 1 - _SHORT
        full = round(share * cells)
        shown = marks.full * full + marks.empty * (cells - full) if bars else marks.levels[round(share * 8)]
        out += [
            (str(one.id % 10), "far" if short else f"ink:{one.id}"),
            (shown[:full] if bars else shown, "far" if short else f"fill:{one.id}"),
            ((shown[full:] if bars else "") + " ", "dim"),
        ]
    return fitted([*out, (left, "dim")], width)


def details(row: HostRow, now: float, width: int) -> list[Piece]:
    """Of one host, in as many lines as it takes."""
    pieces: list[Piece] = [(f" {printable(row.host, 80)}", "bold")]
    if row.error:
        return [*pieces, ("\n ", ""), (printable(row.error.removeprefix(f"{row.host} "), 800), "far")]
    view = row.view
    if view is None:
        return [*pieces, ("  asking …", "dim")]
    pieces += [(f"  Linux {printable(view.release, 40)}  {view.cpus} CPUs  {size(view.total)}", "")]
    if view.balancing:
        pieces.append(("  NUMA balancing on", "warn"))
    pieces.append(("\n ", ""))
    for one in view.nodes[:_MOST_NODES]:
        free = "?" if one.free is None else size(one.free)
        pieces += [(f"N{one.id} ", f"ink:{one.id}"), (f"{free} of {size(one.total)} free   ", "")]
    if len(view.nodes) > _MOST_NODES:
        pieces.append((f"and {len(view.nodes) - _MOST_NODES} more", "dim"))
    memory = row.memory
    if memory is None:
        return [*pieces, ("\n its processes were not looked at yet", "dim")]
    pieces.append((f"\n {memory.processes} processes, {size(memory.rss)}", ""))
    if memory.hidden:
        pieces.append((f", {memory.hidden} of them may not be looked at (--sudo)", "warn"))
    pieces.append((f"  {age(max(0, now - row.memory_at))} ago", "dim"))
    for one in memory.worst:
        pieces += [
            (f"\n {one.pid:>8}  {size(one.far):>6} far ", "far"),
            (f"of {size(one.rss):>6}  ", "dim"),
            (printable(one.command, max(10, width - 32)), ""),
        ]
    return pieces
