"""Threads against memory: rows are the nodes where threads run, columns the nodes where memory lies. Pure."""

from __future__ import annotations

from backend.machine.access_cost import AccessCosts
from numatui.format import percent
from numatui.tui.model.access import Access
from numatui.tui.paint.cells import COSTLY, DEARER
from numatui.tui.paint.paint import Piece
from numatui.tui.paint.shade import STEPS

_CELL = 6
_NAME = 9  # cells of the names of the rows
_HOT = 0.4
"""A cell that loses this share of all time, or more, has the strongest shade."""


def access_matrix(access: Access, costs: AccessCosts, width: int, height: int) -> list[list[Piece]]:
    """A heading with the mean cost, and a table of the shares of all accesses; the shade is what is lost by their
    distance. Rows and columns that have no room are left out, and said so."""
    cost = access.cost(costs)
    if cost is None:
        return [[(" Threads × memory ", "bold"), ("nothing to show", "dim")]]
    role = "far" if cost >= COSTLY else "warn" if cost >= DEARER else "good"
    by = ", by latency" if costs.basis == "latency" else ""
    lines: list[list[Piece]] = [
        [(" Threads × memory ", "bold"), (f"{cost:.2f}x", role), (f" as far as local{by}", "dim")]
    ]
    columns = access.holding[: max(1, (width - _NAME) // _CELL)]
    rows = access.running[: max(1, height - 2)]
    head: list[Piece] = [(" run on".ljust(_NAME), "dim")]
    head += [(f"N{node}".rjust(_CELL - 1) + " ", f"ink:{node}") for node in columns]
    lines.append(head)
    whole = access.spent(costs)
    for here in rows:
        line: list[Piece] = [(f" node {here}".ljust(_NAME), f"ink:{here}")]
        for memory in columns:
            share = access.share(here, memory)
            heat = min(STEPS, round(access.lost(here, memory, costs, whole) / _HOT * STEPS))
            text = percent(share) if share >= 0.005 else "." if share else ""
            line.append((text.rjust(_CELL - 1) + " ", f"heat:{heat}" if share else "dim"))
        lines.append(line)
    left = len(access.running) - len(rows) + len(access.holding) - len(columns)
    if left:
        lines[0].append((f", {left} more nodes", "warn"))
    return lines
