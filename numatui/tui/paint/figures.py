"""Measurements of several runs, compared with bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backend.emulator.study.tour import FIGURES, Measured
from backend.files.text import printable
from numatui.format import duration
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

MORE_IS_BETTER = frozenset({"pages_arrived", "groups_kept"})
_NO_MATTER = frozenset({"pages_asked", "groups"})
_NAME = 17  # cells
_VALUE = 9  # cells


def figures(runs: Sequence[Measured], names: Sequence[str], width: int, marks: Glyphs) -> list[Piece]:
    """A block per number, with a line per run. Bars are relative to the largest value; the best is
    coloured as good, whichever run that is."""
    room = max(6, min(50, width - _NAME - _VALUE - 4))
    pieces: list[Piece] = []
    for name in names:
        title, unit = FIGURES[name]
        values = [float(run.numbers.get(name, 0)) for run in runs]
        pieces.append((f"\n {title}\n", "bold"))
        for run, value in zip(runs, values, strict=True):
            told = duration(value) if unit == "seconds" else f"{value:,.0f}"
            pieces += [
                (f" {run.name:<{_NAME}}", ""), (f"{told:>{_VALUE}}  ", "bold"),
                *bars.gauge(value, max(values), room, marks, verdict(name, value, values)), ("\n", ""),
            ]  # fmt: skip
    return pieces


def layouts(runs: Sequence[Measured], width: int, marks: Glyphs, plain: bool) -> list[Piece]:
    """Placement of the pages of each region after each run."""
    room = max(10, min(50, width - _NAME - 4))
    pieces: list[Piece] = [("\n where the pages are afterwards, by node\n", "bold")]
    for region in runs[0].layout if runs else ():
        pieces.append((f" {printable(region, 40)}\n", "dim"))
        for run in runs:
            pieces.append((f" {run.name:<{_NAME}}", ""))
            pieces += bars.placement(run.layout.get(region, {}), None, room, marks, plain)
            pieces.append(("\n", ""))
    return pieces


def verdict(name: str, value: float, values: Sequence[float]) -> str:
    """The role of a figure among those of all runs: the best, the worst, between; none where nothing is better, as
    with what all were asked to do."""
    if name in _NO_MATTER or min(values) == max(values):
        return "dim"
    better, worse = (max(values), min(values)) if name in MORE_IS_BETTER else (min(values), max(values))
    return "good" if value == better else "far" if value == worse else "warn"
