"""Graphs of several rows: dots of braille, two values and four steps a cell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

Role = str | Callable[[float], str]
"""Of a whole graph, or of each cell by its last value."""
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Bits of the dots of the left and the right column, from the bottom up (Unicode, Braille Patterns)."""
_BLANK = 0x2800
STEPS = 4
"""Steps of height a row."""


def graph(values: Sequence[float], width: int, height: int, top: float, glyphs: Glyphs) -> list[str]:
    """`height` rows of `width` cells: the last `2 * width` values as filled columns, the newest on the right, on a
    scale from zero to `top`, so that a height means the same later. What is above zero is at least one step high.
    Without braille: one value a cell."""
    if width <= 0 or height <= 0:
        return [""] * max(0, height)
    if not glyphs.braille:
        steps = len(glyphs.levels) - 1
        heights = _heights(values, width, height * steps, top)
        return [
            "".join(glyphs.levels[min(steps, max(0, one - row * steps))] for one in heights)
            for row in reversed(range(height))
        ]
    heights = _heights(values, 2 * width, height * STEPS, top)
    return [
        "".join(
            _cell(left - row * STEPS, right - row * STEPS)
            for left, right in zip(heights[::2], heights[1::2], strict=True)
        )
        for row in reversed(range(height))
    ]


def titled(
    heading: Sequence[Piece], values: Sequence[float], width: int, height: int, top: float, role: Role, glyphs: Glyphs,
    levels: Mapping[str, float] | None = None,
) -> list[list[Piece]]:  # fmt: skip
    """`height` lines: the heading, and the graph below it. `levels`: values by name that are marked on the right."""
    marks = axis(levels, height - 1, top) if levels else []
    room = width - (max(map(len, marks), default=0) + 1 if any(marks) else 0)
    drawn = graph(values, room, height - 1, top, glyphs)
    if isinstance(role, str):
        lines: list[list[Piece]] = [[(line, role)] for line in drawn]
    else:
        roles = [role(value) for value in list(values)[:: -2 if glyphs.braille else -1]][:room][::-1]
        lines = [runs(line, [""] * (room - len(roles)) + roles) for line in drawn]
    if room < width:
        lines = [[*line, (f" {mark}".ljust(width - room), "warn")] for line, mark in zip(lines, marks, strict=True)]
    return [bars.fitted(heading, width), *lines]


def runs(text: str, roles: Sequence[str]) -> list[Piece]:
    """A line with a role for each cell; neighbours of one role are one piece."""
    signed = groupby(zip(text, roles, strict=True), key=lambda one: one[1])
    return [("".join(sign for sign, _ in some), role) for role, some in signed]


def axis(levels: Mapping[str, float], height: int, top: float) -> list[str]:
    """For each row the names of the levels in it, the highest first. Levels above the scale are left out."""
    out: list[list[str]] = [[] for _ in range(height)]
    for name, level in sorted(levels.items(), key=lambda one: -one[1]):
        if height and 0 <= level <= top > 0:
            out[height - 1 - min(height - 1, int(level / top * height))].append(name)
    return [" ".join(names) for names in out]


def _heights(values: Sequence[float], count: int, steps: int, top: float) -> list[int]:
    """The last `count` values in steps; zeros before, where there are fewer."""
    last = list(values)[-count:]
    out = [max(1, round(min(1.0, value / top) * steps)) if value > 0 < top else 0 for value in last]
    return [0] * (count - len(out)) + out


def _cell(left: int, right: int) -> str:
    """A space where nothing is, for fonts without braille."""
    dots = _column(0, left) + _column(1, right)
    return chr(_BLANK + dots) if dots else " "


def _column(side: int, steps: int) -> int:
    return sum(_DOTS[side][: max(0, steps)])
