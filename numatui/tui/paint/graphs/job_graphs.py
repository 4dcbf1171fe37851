"""A job over time: rate, longest call, workers, side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from numatui.format import duration, size
from numatui.tui.model.job_course import MOST, JobCourse
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.graph import titled
from numatui.tui.paint.paint import Piece

_LEAST = 26  # cells of a graph
_GAP = 2


def job_graphs(course: JobCourse, width: int, height: int, glyphs: Glyphs) -> list[list[Piece]]:
    """As many of the three as have room, the rate first; `height` lines with the heading."""
    per_cell = 2 if glyphs.braille else 1
    some: list[tuple[str, str, Sequence[float], float, str]] = []
    rates, calls, workers = course.rates, course.calls, course.workers
    if rates:
        some.append(("rate", f"up to {size(max(rates))}/s", rates, max(rates), "accent"))
        some.append(("longest call", f"up to {duration(max(calls))}", calls, max(calls), "key"))
        some.append(("workers", f"up to {max(workers):.0f}", workers, max(workers), "good"))
    count = max(1, min(len(some), width // (_LEAST + _GAP)))
    room = min(MOST // per_cell, (width - 1) // count - _GAP)
    blocks = [
        titled(
            [(title, "bold"), (f" {told}", "dim")], _stretched(values, room * per_cell), room, height, top, role, glyphs
        )
        for title, told, values, top, role in some[:count]
    ]
    out: list[list[Piece]] = []
    for row in zip_longest(*blocks, fillvalue=[(" " * room, "")]):
        line: list[Piece] = [(" ", "")]
        for part in row:
            line += [*part, (" " * _GAP, "")]
        out.append(line)
    return out


def _stretched(values: Sequence[float], width: int) -> list[float]:
    """The values over the whole width, each as often as it has room: the graph is the job from its beginning on."""
    return [values[at * len(values) // width] for at in range(width)] if values else []
