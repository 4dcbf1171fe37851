"""Special characters of the screen, with ASCII replacements for terminals and fonts that lack them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """`away`: patterns that tell nodes apart without colours. `levels`: characters of a sparkline, from empty to full.
    `lines`: box-drawing characters by the sum of their directions (up 1, down 2, left 4, right 8). `corners`: of a box,
    clockwise from the upper left. `flat`, `upright`: links between nodes, from near to far. `slopes`: falling, rising,
    both. `braille`: whether the font has it."""

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
    corners: str
    flat: str
    upright: str
    slopes: str
    back: str
    braille: bool


UNICODE = Glyphs(
    full="█",
    empty="░",
    here="━",
    away="─╌┈·",
    levels=" ▁▂▃▄▅▆▇█",
    up="▲",
    down="▼",
    head="▶",
    arrow="→",
    more="◂▸",
    mark="●",
    lines={3: "│", 12: "─", 5: "┘", 6: "┐", 9: "└", 10: "┌", 7: "┤", 11: "├", 13: "┴", 14: "┬", 15: "┼"},
    corners="╭╮╯╰",
    flat="═─┄",
    upright="║│┊",
    slopes="╲╱╳",
    back="◀",
    braille=True,
)
ASCII = Glyphs(
    full="#",
    empty=".",
    here="=",
    away="-~.:",
    levels=" .:-=+*#%",
    up="^",
    down="v",
    head=">",
    arrow="->",
    more="<>",
    mark="*",
    lines={3: "|", 12: "-", **dict.fromkeys((5, 6, 9, 10, 7, 11, 13, 14, 15), "+")},
    corners="++++",
    flat="=-.",
    upright="#|:",
    slopes="\\/X",
    back="<",
    braille=False,
)


_STAND_INS = str.maketrans("…→×µ", ".>xu")


_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python itself sets LC_CTYPE to where the locale is C (PEP 538)."""


def ascii_only() -> bool:
    """Whether NUMATUI_ASCII is set to anything but 0. Where it is not set: whether the locale is not UTF-8."""
    wanted = os.environ.get("NUMATUI_ASCII", "")
    return wanted != "0" if wanted else not _utf8(os.environ)


def _utf8(environment: Mapping[str, str]) -> bool:
    """Whether the locale's characters are UTF-8 (locale(7)). Without any locale, as in containers: yes."""
    everything, kind, usual = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if not everything and kind in _COERCED and usual in ("C", "POSIX"):
        return False
    codes = (everything or kind or usual or "C.UTF-8").partition("@")[0].partition(".")[2] or kind
    return codes.replace("-", "").upper() == "UTF8"


def glyphs() -> Glyphs:
    """The characters for this terminal."""
    return ASCII if ascii_only() else UNICODE


def replaced(text: str) -> str:
    """The text with ASCII characters instead of our own special ones."""
    return text if text.isascii() else text.translate(_STAND_INS)
