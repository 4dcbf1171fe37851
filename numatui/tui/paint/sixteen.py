"""Styles for terminals with sixteen colours: nodes stay apart, and the cursor is seen. The nearest of sixteen to a
theme's own colours would often be the same one. Pure."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style

_DARK = ("cyan", "yellow", "green", "magenta", "red", "white", "grey", "blue")
"""Colours of the nodes. Blue comes last: dark blue is the ground of the cursor."""
_BLACK, _WHITE = Color.from_rgb(0, 0, 0), Color.from_rgb(255, 255, 255)
_GREY, _LIGHT = Color.from_rgb(85, 85, 85), Color.from_rgb(170, 170, 170)
_COLORS = {
    "blue": (Color.from_rgb(0, 0, 170), Color.from_rgb(85, 85, 255)),
    "yellow": (Color.from_rgb(170, 85, 0), Color.from_rgb(255, 255, 85)),
    "green": (Color.from_rgb(0, 170, 0), Color.from_rgb(85, 255, 85)),
    "magenta": (Color.from_rgb(170, 0, 170), Color.from_rgb(255, 85, 255)),
    "cyan": (Color.from_rgb(0, 170, 170), Color.from_rgb(85, 255, 255)),
    "red": (Color.from_rgb(170, 0, 0), Color.from_rgb(255, 85, 85)),
    "grey": (_GREY, _LIGHT),
    "white": (_LIGHT, _WHITE),
}
"""Each dark and bright, as terminals have them (rich: STANDARD_PALETTE). Written as RGB: Textual turns the sixteen by
name into its theme's own."""
_TEXT = {"good": "green", "warn": "yellow", "far": "red", "key": "cyan", "accent": "yellow", "tag": "yellow"}
_BADGES = {"live": "green", "demo": "cyan", "replay": "yellow", "remote": "red"}


def sixteen(role: str, dark: bool) -> Style:
    """The style of a role (`Paint`). `dark`: the theme has a dark background."""
    kind, _, number = role.partition(":")
    if number:
        return _of_number(kind, number, dark)
    if kind in _TEXT:
        return Style(color=_COLORS[_TEXT[kind]][dark], bold=kind != "good")
    if kind in _BADGES:
        return Style(color=_BLACK, bgcolor=_COLORS[_BADGES[kind]][1], bold=True)
    if kind in ("head", "sorted"):
        return Style(color=_BLACK, bgcolor=_COLORS["cyan"][1] if kind == "sorted" else _LIGHT, bold=True)
    if kind == "cursor":
        return Style(color=_WHITE, bgcolor=_COLORS["blue"][0], bold=True)
    if kind == "blurred":
        return Style(bgcolor=_GREY if dark else _LIGHT)
    if kind == "dim":
        return Style(color=_LIGHT if dark else _GREY)
    return Style(bold=True) if kind == "bold" else Style()


def _of_number(kind: str, number: str, dark: bool) -> Style:
    first, _, second = number.partition(".")
    low, bright = _COLORS[_DARK[int(first) % len(_DARK)]]
    if kind == "heat":
        step = int(first)
        return (
            Style(color=_WHITE, bgcolor=_COLORS["red"][0]) if step >= 6
            else Style(color=_BLACK, bgcolor=_COLORS["yellow"][1]) if step >= 3
            else Style(color=_WHITE, bgcolor=_GREY)
        )  # fmt: skip
    if kind == "over":
        return Style(color=bright, bgcolor=_COLORS[_DARK[int(second) % len(_DARK)]][1])
    if kind in ("ink", "fill"):
        return Style(color=bright if dark else low, bold=kind == "ink")
    if kind == "away" or (kind == "shade" and second == "1"):
        return Style(color=_BLACK if low in (_LIGHT, _COLORS["cyan"][0], _COLORS["green"][0]) else _WHITE, bgcolor=low)
    if kind == "shade" and second not in ("", "0"):
        return Style(color=_WHITE, bgcolor=_GREY)
    return Style(color=_BLACK, bgcolor=bright, bold=kind == "here")
