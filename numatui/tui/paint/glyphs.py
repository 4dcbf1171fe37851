"""Special characters of the screen, with ASCII replacements for terminals and fonts that lack them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """`levels`: characters of a sparkline, from empty to full. `lines`: box-drawing characters by the sum of their
    directions (up 1, down 2, left 4, right 8)."""

    full: str
    empty: str
    here: str
    away: str
    levels: str
    up: str
    down: str
    head: str
    arrow: str
    more: str
    mark: str
    lines: dict[int, str]


UNICODE = Glyphs(
    full="█",
    empty="░",
    here="━",
    away="─",
    levels=" ▁▂▃▄▅▆▇█",
    up="▲",
    down="▼",
    head="▶",
    arrow="→",
    more="◂▸",
    mark="●",
    lines={3: "│", 12: "─", 5: "┘", 6: "┐", 9: "└", 10: "┌", 7: "┤", 11: "├", 13: "┴", 14: "┬", 15: "┼"},
)
ASCII = Glyphs(
    full="#",
    empty=".",
    here="=",
    away="-",
    levels=" .:-=+*#%",
    up="^",
    down="v",
    head=">",
    arrow="->",
    more="<>",
    mark="*",
    lines={3: "|", 12: "-", **dict.fromkeys((5, 6, 9, 10, 7, 11, 13, 14, 15), "+")},
)


_STAND_INS = str.maketrans("…→×µ", ".>xu")


def ascii_only() -> bool:
    """Whether NUMATUI_ASCII is set to anything but 0."""
    return os.environ.get("NUMATUI_ASCII", "0") not in ("", "0")


def glyphs() -> Glyphs:
    """The characters for this terminal."""
    return ASCII if ascii_only() else UNICODE


def shown(text: str) -> str:
    """The text; with NUMATUI_ASCII, our own special characters are replaced."""
    return text if text.isascii() or not ascii_only() else text.translate(_STAND_INS)
