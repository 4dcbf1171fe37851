"""Contrast of text by WCAG 2.1 (1.4.3). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from textual.color import Color

LEAST = 4.5
"""Least contrast ratio for text of normal size (WCAG 2.1, 1.4.3, level AA)."""
BLACK, WHITE = Color(0, 0, 0), Color(255, 255, 255)
_STEPS = 40  # shades tried between a colour and black or white


def luminance(color: Color) -> float:
    """Relative luminance, 0 to 1."""
    red, green, blue = (_linear(part / 255) for part in (color.r, color.g, color.b))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: Color, other: Color) -> float:
    """Contrast ratio, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def text_on(ground: Color) -> Color:
    """Black or white, whichever has more contrast. One of them always reaches `LEAST`."""
    return max(BLACK, WHITE, key=lambda color: ratio(color, ground))


def readable(color: Color, grounds: Iterable[Color], dark: bool, least: float = LEAST) -> Color:
    """The colour, made lighter (dark themes) or darker until it has contrast `least` on all `grounds`."""
    over = list(grounds)
    for step in range(_STEPS + 1):
        tried = color.blend(WHITE if dark else BLACK, step / _STEPS)
        if all(ratio(tried, ground) >= least for ground in over):
            return tried
    return WHITE if dark else BLACK


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
