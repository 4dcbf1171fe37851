"""Cells of the process table. Pure."""

from __future__ import annotations

from collections.abc import Callable

from backend.placement.survey import ProcessRow
from backend.process.process import HERTZ
from numatui.format import percent, size
from numatui.tui.model.groups import GroupRow
from numatui.tui.paint.paint import Piece

FAR, MIXED = 0.5, 0.8
"""A local share below `FAR` is marked as far away, below `MIXED` as mixed."""
COSTLY, DEARER = 1.6, 1.2
"""A cost from `COSTLY` up is marked as far away, from `DEARER` up as mixed. Relative to local memory."""
OLD = 10_000_000_000
"""Nanoseconds. Older numbers are dimmed."""


def pid_cell(row: ProcessRow, _: int) -> Piece:
    """The pid; for a group, the number of its members."""
    return (f"({len(row.members)})", "dim") if isinstance(row, GroupRow) else (str(row.process.pid), "")


def where(row: ProcessRow) -> str:
    """`71@2`: the CPU it last ran on, and that CPU's node."""
    return "" if row.process.cpu < 0 else f"{row.process.cpu}@{'?' if row.node is None else row.node}"


def local_cell(large: int) -> Callable[[ProcessRow, int], Piece]:
    """The local share. `!` marks memory that is far away, `~` an estimate. Most of all stands out what has at least
    `large` bytes far away."""

    def cell(row: ProcessRow, _: int) -> Piece:
        share = row.local
        if share is None:
            return ("- ", "dim")
        text = ("~" if row.sampled else "") + percent(share) + ("!" if share < FAR else " ")
        if row.age > OLD:
            return (text, "dim")
        if share < MIXED and row.resident * (1 - share) >= large:
            return (text, "far" if share < FAR else "warn")
        return (text, "warn" if share < FAR else "")

    return cell


def cost_cell(value: float | None) -> Piece:
    """Cost of its memory relative to local memory, as `1.8x`."""
    if value is None:
        return ("-", "dim")
    return (f"{value:.1f}x", "far" if value >= COSTLY else "warn" if value >= DEARER else "")


def node_cell(node: int) -> Callable[[ProcessRow, int], Piece]:
    """Memory of a process on one node. Bold: the process runs there. `~`: an estimate. Dim: an old number."""

    def cell(row: ProcessRow, _: int) -> Piece:
        if row.by_node is None:
            return ("?", "dim")
        amount = row.by_node.get(node, 0)
        role = "dim" if not amount or row.age > OLD else f"ink:{node}" if row.node == node else ""
        return (("~" if row.sampled and amount else "") + size(amount), role)

    return cell


def node_order(node: int) -> Callable[[ProcessRow], int | None]:
    """Sort key: bytes on one node."""
    return lambda row: None if row.by_node is None else row.by_node.get(node, 0)


def nice_cell(row: ProcessRow, _: int) -> Piece:
    """The nice value of the first thread; empty for a group."""
    if isinstance(row, GroupRow):
        return ("", "")
    return (str(row.process.nice), "" if row.process.nice else "dim")


def load_cell(row: ProcessRow, _: int) -> Piece:
    """Processor time since the last reading; 100 is one CPU."""
    if row.load is None:
        return ("-", "dim")
    text = f"{row.load * 100:.1f}" if row.load < 10 else f"{row.load * 100:.0f}"
    return (text, "" if row.load >= 0.0005 else "dim")


def time_cell(row: ProcessRow, _: int) -> str:
    """Processor time since the process began: minutes as `1:02.30`, from an hour on `12h03m`."""
    minutes, ticks = divmod(row.process.ticks, 60 * HERTZ)
    if minutes < 60:
        return f"{minutes}:{ticks // HERTZ:02}.{ticks % HERTZ:02}"
    return f"{minutes // 60}h{minutes % 60:02}m"


def tail(text: str, width: int) -> str:
    """The end of a path that is too long. Paths mostly differ at their ends."""
    return text if len(text) <= width else "…" + text[-(width - 1) :]
