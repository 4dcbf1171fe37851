"""Lines of pieces as the text of a widget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.dom import DOMNode

from numatui.tui.paint.paint import Paint, Piece


def lines_of(node: DOMNode, lines: Sequence[Sequence[Piece]], filled: bool = False) -> Text:
    """The lines below each other, as text. `filled`: blanks at the end are coloured, and stay."""
    text = Paint.of(node.app).text([piece for line in lines for piece in (*line, ("\n", ""))])
    if filled:
        text.right_crop(1)
    else:
        text.rstrip()
    text.no_wrap, text.overflow = True, "crop"
    return text
