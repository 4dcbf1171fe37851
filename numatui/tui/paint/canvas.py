"""A rectangle of characters to draw on, each with the role of its style. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from numatui.tui.paint.paint import Piece


class Canvas:
    """`width` × `height` cells, blank at first. What is drawn beyond an edge is left out. Every character must be one
    cell wide."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells: list[list[Piece]] = [[(" ", "")] * width for _ in range(height)]

    def put(self, x: int, y: int, text: str, role: str = "") -> None:
        """Draws text from a cell on to the right."""
        if not 0 <= y < self.height:
            return
        row = self._cells[y]
        for at, character in enumerate(text, x):
            if 0 <= at < self.width:
                row[at] = (character, role)

    def pieces(self, x: int, y: int, pieces: Sequence[Piece], width: int) -> None:
        """Draws pieces from a cell on, at most `width` cells."""
        for text, role in pieces:
            self.put(x, y, text[:width], role)
            x, width = x + len(text), width - len(text)
            if width <= 0:
                return

    def lines(self) -> list[list[Piece]]:
        """The rows from the top; neighbours of one role are one piece."""
        return [
            [("".join(cell[0] for cell in some), role) for role, some in groupby(row, key=lambda cell: cell[1])]
            for row in self._cells
        ]
