"""The time line of a recording: local share over time, marks where something happened. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from numatui.format import percent, size
from numatui.tui.model.course import Course, happened
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.graphs.graph import graph, runs
from numatui.tui.paint.graphs.trend_graphs import local_role
from numatui.tui.paint.paint import Piece

LEAST_MOVED = 1 << 20
"""Bytes between two samples from which on a move is marked."""


@dataclass(frozen=True, slots=True)
class TimeLineState:
    """`at`: the sample that is shown. `hover`: the one under the mouse, or -1. `marked`: the one that others are
    compared with, or -1. `page_size`: bytes. `speed`: recorded seconds a second; 0: it stands still."""

    course: Course
    at: int
    hover: int
    marked: int
    page_size: int
    speed: float = 0.0


def draw(state: TimeLineState, width: int, height: int, glyphs: Glyphs) -> list[list[Piece]]:
    """`height` lines, at least three: what is at the place in question, the graph, and the line with the marks."""
    rows = max(1, height - 2)
    course = state.course
    shares = course.local(width)
    cells = graph([one or 0.0 for one in shares for _ in range(2 if glyphs.braille else 1)], width, rows, 1.0, glyphs)
    here, mark = course.cell_of(state.at, width), -1 if state.marked < 0 else course.cell_of(state.marked, width)
    roles = ["dim" if share is None else local_role(share) for share in shares]
    lines = [_line(line, roles, here, mark) for line in cells]
    moved = {number: amount for number, amount in course.moved(state.page_size).items() if amount >= LEAST_MOVED}
    signs, sign_roles = _marks(course, moved, width, glyphs)
    return [_heading(state, moved, width, glyphs), *lines, _line(signs, sign_roles, here, mark)][:height]


def _line(text: str, roles: Sequence[str], here: int, mark: int) -> list[Piece]:
    """A line on which the cells of the shown and the marked sample stand out."""
    signs, roles = list(text), list(roles)
    for cell, role, sign in ((mark, "tag", "'"), (here, "cursor", "|")):
        if cell >= 0:
            signs[cell], roles[cell] = sign if signs[cell] == " " else signs[cell], role
    return runs("".join(signs), roles)


def _marks(course: Course, moved: Iterable[int], width: int, glyphs: Glyphs) -> tuple[str, list[str]]:
    """`moved`: the samples before which pages moved."""
    signs, roles = [glyphs.lines[12]] * width, ["dim"] * width
    for number, events in enumerate(course.events):
        if number and (events.began or events.ended):
            cell = course.cell_of(number, width)
            sign = "±" if events.began and events.ended else "+" if events.began else "-"
            both = signs[cell] in "+-±" and signs[cell] != sign
            signs[cell], roles[cell] = "±" if both else sign, "bold"
    for number in moved:
        cell = course.cell_of(number, width)
        signs[cell], roles[cell] = glyphs.head, "accent"
    text = "".join(signs)
    return (text if glyphs.braille else text.replace("±", "*")), roles


def _heading(state: TimeLineState, moved: Mapping[int, int], width: int, glyphs: Glyphs) -> list[Piece]:
    course = state.course
    number = state.hover if state.hover >= 0 else state.at
    sample, events, point = course.samples[number], course.events[number], course.points.get(number)
    pieces: list[Piece] = [
        (f" {clock(sample.at - course.samples[0].at)}", "bold"),
        (f" of {clock(course.span)}", "dim"),
        (f"  sample {number + 1}/{len(course.samples)}", ""),
        (f"  {state.speed:g}x" if state.speed else "  stands still (= plays)", "dim"),
    ]
    if point is not None and point.local is not None:
        pieces += [("  local ", "dim"), (percent(point.local), local_role(point.local))]
    if number and (told := happened(events)):
        pieces.append((f"  {told}", ""))
    if number in moved:
        pieces.append((f"  {size(moved[number])} moved", "accent"))
    if 0 <= state.marked < len(course.samples):
        where = "here: ' removes the mark" if state.marked == state.at else f"sample {state.marked + 1}: ' compares"
        pieces.append((f"  marked {where}", "tag"))
    legend = f"local share, + began, - ended, {glyphs.head} moved "
    room = width - bars.length(pieces) - len(legend)
    return bars.fitted([*pieces, (" " * room + legend, "dim")] if room > 1 else pieces, width)


def clock(nanoseconds: int) -> str:
    """`0:06`, `12:30`, `3:00:00`."""
    minutes, seconds = divmod(nanoseconds // 1_000_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
