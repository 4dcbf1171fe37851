"""Styles of text under a theme. A piece of text has a role, and the theme gives each role its style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App
from textual.color import Color, ColorParseError

from numatui.tui.paint.contrast import LEAST, readable, text_on
from numatui.tui.paint.glyphs import ascii_only, replaced
from numatui.tui.paint.sixteen import sixteen

Piece = tuple[str, str]
"""(text without control characters, role). Roles: "", "dim", "bold", "head", "sorted", "accent", "good", "warn", "far",
"tag", "key", "live", "demo", "replay", "remote". Roles of node 3: "node:3" (a block of its colour), "here:3" (bright,
where the process runs), "away:3" (dim, where it does not), "ink:3" (text in its colour), "fill:3" (full blocks in its
colour).
"kind:2": a block for one of several kinds; "shade:3.2": the same, in the third shade of node 3's colour; "over:3.2":
text in node 3's colour on node 2's. "heat:0" to
"heat:9": a block, from near to far."""

_FALLBACK_NODES = (
    "#4aa8e0", "#e8a33d", "#3dba8b", "#d987b5", "#e6d85c", "#8f8cf0", "#e0734a", "#a9b4c2",
)  # fmt: skip
_LINES = {"cursor": 0.26, "blurred": 0.1}
"""Share of the primary colour in the background of the cursor line, with focus and without."""


_BADGES = {"live": "success", "demo": "primary", "replay": "warning", "remote": "error"}


@dataclass
class Paint:
    """The styles of one theme, made on first use. `plain`: the screen has no colours, so bold replaces them. `ascii`:
    our own special characters are replaced. `sixteen`: the terminal has no more colours than these."""

    variables: Mapping[str, str]
    dark: bool = True
    plain: bool = False
    ascii: bool = False
    sixteen: bool = False
    _styles: dict[str, Style] = field(default_factory=dict)

    @classmethod
    def of(cls, app: App[Any]) -> Paint:
        """The styles of the app's current theme."""
        known = _paints.get(app)
        if known is None or known[0] != app.theme:
            known = _paints[app] = (
                app.theme,
                cls(
                    app.theme_variables,
                    app.current_theme.dark,
                    app.no_color,
                    ascii_only(),
                    app.console.color_system == "standard" and not (app.no_color or app.is_headless),
                ),
            )
        return known[1]

    def color(self, name: str, fallback: str) -> Color:
        """A colour of the theme, by variable."""
        try:
            return Color.parse(self.variables.get(name, fallback))
        except ColorParseError:
            return Color.parse(fallback)

    def node(self, node: int) -> Color:
        """The colour of a node. Colours repeat if the theme has fewer."""
        count = self.variables.get("node-count", "")
        index = node % (int(count) if count.isdigit() and int(count) else len(_FALLBACK_NODES))
        return self.color(f"node-{index}", _FALLBACK_NODES[index % len(_FALLBACK_NODES)])

    def style(self, role: str) -> Style:
        """The style of a role. Only blocks, headings and the cursor line have a background."""
        style = self._styles.get(role)
        if style is None:
            style = self._styles[role] = sixteen(role, self.dark) if self.sixteen else self._make(role)
        return style

    def segments(self, pieces: Iterable[Piece], base: Style | None = None) -> list[Segment]:
        """The pieces as segments. `base`: the style of their line."""
        base = base or Style()
        if self.ascii:
            pieces = [(replaced(text), role) for text, role in pieces]
        return [Segment(text, base + self.style(role)) for text, role in pieces]

    def text(self, pieces: Iterable[Piece]) -> Text:
        """The pieces as rich text; markup in them is not interpreted."""
        out = Text(no_wrap=False, end="")
        for piece, role in pieces:
            out.append(replaced(piece) if self.ascii else piece, self.style(role))
        return out

    @property
    def grounds(self) -> list[Color]:
        """Backgrounds behind text: the screen, dialogs, the cursor line."""
        background = self.color("background", "#10141a" if self.dark else "#fbfbf8")
        surface = self.color("surface", "#171d26" if self.dark else "#f0f0ec")
        return [background, surface, *(self._line(share) for share in _LINES.values())]

    def _line(self, share: float) -> Color:
        background = self.color("background", "#10141a" if self.dark else "#fbfbf8")
        return background.blend(self.color("primary", "#6cb6ff"), share)

    def _readable(self, color: Color, least: float = LEAST) -> Color:
        return readable(color, self.grounds, self.dark, least)

    def _make(self, role: str) -> Style:
        kind, _, number = role.partition(":")
        foreground = self._readable(self.color("foreground", "#d5dbe5" if self.dark else "#1f2530"))
        background = self.color("background", "#10141a" if self.dark else "#fbfbf8")
        if kind == "heat":
            near, far = self.color("panel", "#202938"), self.color("error", "#ff7b72")
            return _block(near.blend(far, int(number) / 9 * 0.85))
        if kind == "shade":
            node, _, step = number.partition(".")
            return _block(self.node(int(node)).blend(background, min(0.72, 0.12 + 0.2 * int(step))))
        if kind == "over":
            front, _, behind = number.partition(".")
            return Style(color=self.node(int(front)).rich_color, bgcolor=self.node(int(behind)).rich_color)
        if number:
            return self._node_style(kind, self.node(int(number)), foreground, background)
        names = {
            "accent": ("accent", "#f0b44c"),
            "good": ("success", "#57c785"),
            "warn": ("warning", "#f0b44c"),
            "far": ("error", "#ff7b72"),
            "key": ("primary", "#6cb6ff"),
            "tag": ("accent", "#f0b44c"),
        }
        if kind in names and self.plain:
            return Style(color=foreground.rich_color, bold=True)
        if kind in names:
            color = self._readable(self.color(*names[kind]))
            return Style(color=color.rich_color, bold=kind in ("far", "tag", "key", "accent"))
        if kind in _BADGES:
            shade = self.color(_BADGES[kind], "#6cb6ff")
            return Style(color=text_on(shade).rich_color, bgcolor=shade.rich_color, bold=True)
        if kind == "dim":
            return Style(color=self._readable(foreground.blend(background, 0.38)).rich_color)
        if kind in ("head", "sorted"):
            panel = self.color("panel", "#202938")
            color = self.color("primary", "#6cb6ff") if kind == "sorted" else foreground
            shown = readable(color, [panel], self.dark)
            return Style(color=shown.rich_color, bgcolor=panel.rich_color, bold=True)
        if kind in _LINES:
            return Style(bgcolor=self._line(_LINES[kind]).rich_color, bold=kind == "cursor")
        return Style(bold=True) if kind == "bold" else Style()

    def _node_style(self, kind: str, color: Color, foreground: Color, background: Color) -> Style:
        if kind == "kind":
            return _block(color.blend(background, 0.35))
        if kind == "fill":
            return Style(color=color.rich_color)
        if kind == "ink":
            shown = foreground if self.plain else self._readable(color)
            return Style(color=shown.rich_color, bold=True)
        block = color.blend(background, {"here": 0.0, "away": 0.55}.get(kind, 0.12))
        return Style(color=text_on(block).rich_color, bgcolor=block.rich_color, bold=kind == "here")


def _block(color: Color) -> Style:
    return Style(color=text_on(color).rich_color, bgcolor=color.rich_color)


_paints: WeakKeyDictionary[App[Any], tuple[str, Paint]] = WeakKeyDictionary()
