"""Draws the moves of a plan as arrows with right angles between two columns of nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.plan.remap import Move
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8  # the bits of `Glyphs.lines`
_FLAT = LEFT | RIGHT


def lanes(moves: Sequence[Move], lines: Mapping[int, int], width: int) -> dict[Move, int]:
    """The column in which each arrow turns. Arrows of one direction do not cross."""
    down = [move for move in moves if lines[move.target] > lines[move.source]]
    up = [move for move in moves if lines[move.target] <= lines[move.source]]
    ordered = sorted(up, key=lambda move: lines[move.source]) + sorted(down, key=lambda move: -lines[move.source])
    room = max(1, width - 4)
    step = max(1, min(3, room // max(1, len(ordered))))
    return {move: 1 + (index * step) % room for index, move in enumerate(ordered)}


def draw(moves: Sequence[Move], lines: Mapping[int, int], width: int, glyphs: Glyphs) -> list[list[Piece]]:
    """One list of pieces per line, each `width` cells. `lines`: node → line. Arrows to the same target merge. Where
    other arrows cross, the horizontal arrow is drawn on top.
    """
    height = max(lines.values(), default=-1) + 1
    grid: list[list[tuple[int, Move] | None]] = [[None] * width for _ in range(height)]

    def put(x: int, y: int, directions: int, move: Move) -> None:
        there = grid[y][x]
        if there is None:
            grid[y][x] = (directions, move)
        elif there[1].target == move.target:
            grid[y][x] = (there[0] | directions, move)
        elif directions == _FLAT:
            grid[y][x] = (directions, move)

    for move, lane in lanes(moves, lines, width).items():
        first, last = lines[move.source], lines[move.target]
        downwards = last > first
        for x in range(lane):
            put(x, first, _FLAT, move)
        put(lane, first, LEFT | (DOWN if downwards else UP), move)
        for y in range(min(first, last) + 1, max(first, last)):
            put(lane, y, UP | DOWN, move)
        put(lane, last, RIGHT | (UP if downwards else DOWN), move)
        for x in range(lane + 1, width - 1):
            put(x, last, _FLAT, move)
    heads = {lines[move.target]: move for move in moves}
    out: list[list[Piece]] = []
    for y, cells in enumerate(grid):
        pieces: list[Piece] = [
            (" ", "") if cell is None else (glyphs.lines.get(cell[0], "+"), f"ink:{cell[1].source}") for cell in cells
        ]
        if y in heads:
            pieces[-1] = (glyphs.head, f"ink:{heads[y].source}")
        out.append(pieces)
    return out
