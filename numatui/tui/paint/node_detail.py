"""One node in detail: use of its memory, watermarks, hugetlb pools, recent load. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numatui.format import count, percent, size
from numatui.tui.model.node_history import SERIES
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.node_graphs import LEAST, node_graphs
from numatui.tui.paint.node_table import KINDS, NodeRow, kinds_of
from numatui.tui.paint.paint import Piece

_TALL = 24  # most lines of graphs
_ABOUT = {name: about for name, about, _ in KINDS} | {"other": "in other use", "free": "free"}


def node_detail(
    row: NodeRow, history: Mapping[str, Sequence[float]], width: int, glyphs: Glyphs, most: Mapping[str, float],
    height: int,
) -> list[Piece]:  # fmt: skip
    """`history`: by `SERIES`, drawn as graphs where `height` has room for them, else as a line each. `most`: the
    highest rates so far. The scales end at all of its memory, all of its CPUs, these rates."""
    node = row.node
    nearest = f", nearest are those of node {row.nearest}" if row.nearest else ""
    cpus = f"CPUs {node.cpus}" if node.cpus else f"no CPUs{nearest}"
    pieces: list[Piece] = [(f" Node {node.id}", f"ink:{node.id}"), (f"  {cpus}"[: width - 10] + "\n", "dim")]
    for name, amount in kinds_of(node).items():
        share = amount / node.total if node.total else 0.0
        pieces += [
            (f" {size(amount):>6} {percent(share):>4} ", "bold" if name == "free" else ""),
            (f"{_ABOUT[name]}\n", "dim"),
        ]
    pieces += _marks(row, width, glyphs)
    for pool in node.huge_pools:
        if pool.total or pool.surplus:
            pieces.append((f" {pool.free} of {pool.total} hugetlb pages of {size(pool.size)} free\n", ""))
    pieces += _firmware(row)
    left = height - sum(text.count("\n") for text, _ in pieces) - 1
    if left >= LEAST:
        for line in node_graphs(row, history, most, width, min(left, _TALL), glyphs):
            pieces += [("\n", ""), *line]
        return pieces
    room = max(8, width - 40)
    tops = {"free": float(node.total), "cpu": 1.0, **most}
    for name, about in SERIES.items():
        values = history.get(name, ())
        if values:
            pieces += [
                (f" {about:<33}", "dim"), (bars.sparkline(values, room, glyphs, tops[name]), f"ink:{node.id}"),
                (f" {_told(name, values[-1]):>5}\n", ""),
            ]  # fmt: skip
    return pieces


def _marks(row: NodeRow, width: int, glyphs: Glyphs) -> list[Piece]:
    """Free memory compared with the watermarks of the zones."""
    marks, free = row.marks, row.node.free
    if not marks.low or not row.node.has_memory or free is None:
        return []
    state, role = ("above the watermarks", "good")
    if free < marks.min:
        state, role = "below min: whoever allocates has to reclaim", "far"
    elif free < marks.low:
        state, role = "below low: the kernel reclaims", "far"
    elif row.short:
        state, role = "near low", "warn"
    first, second = (
        f" {size(free)} free, {state}",
        f" (min {size(marks.min)}, low {size(marks.low)}, high {size(marks.high)})",
    )
    return [(first, role), ("\n" if len(first) + len(second) > width else "", ""), (second + "\n", "dim")]


def _firmware(row: NodeRow) -> list[Piece]:
    """Latency and bandwidth from the nearest CPUs, from the ACPI HMAT."""
    access = row.node.access
    parts = [
        f"{access[key]} {unit} {name}"
        for key, name, unit in (
            ("read_latency", "to read", "ns"), ("write_latency", "to write", "ns"),
            ("read_bandwidth", "reading", "MiB/s"), ("write_bandwidth", "writing", "MiB/s"),
        )
        if key in access
    ]  # fmt: skip
    pieces: list[Piece] = [(f" {', '.join(parts)}, says the firmware\n", "")] if parts else []
    if row.tier is not None:
        pieces.append((f" memory tier {row.tier}\n", ""))
    return pieces


def _told(name: str, value: float) -> str:
    return size(value) if name == "free" else percent(value) if name == "cpu" else count(value)


def machine_line(machine: Mapping[str, float], pressure: float | None, balancing: bool) -> list[Piece]:
    """Migration rates, memory pressure and NUMA balancing of the machine, in one line."""
    names = (
        ("pgmigrate_success", "migrated"),
        ("pgmigrate_fail", "not migrated"),
        ("numa_pages_migrated", "by NUMA balancing"),
        ("pgpromote_success", "promoted"),
        ("pgdemote_kswapd", "demoted"),
    )
    pieces: list[Piece] = [(" pages a second: ", "dim")]
    told = [
        (count(machine[name]), text)
        for name, text in names
        if name in machine and (machine[name] or name == "pgmigrate_success")
    ]
    for number, text in told:
        pieces += [(f"{number} ", "bold"), (f"{text}  ", "")]
    if not told:
        pieces.append(("not known yet  ", "dim"))
    if pressure is not None:
        pieces += [("memory pressure ", "dim"), (f"{percent(pressure)}  ", "far" if pressure > 0.1 else "")]
    pieces.append(("NUMA balancing on" if balancing else "", "warn"))
    return pieces
