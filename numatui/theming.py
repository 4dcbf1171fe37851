"""Themes: one YAML file each, shipped or the user's own."""

from __future__ import annotations

import re
from pathlib import Path

from textual.theme import Theme

import numatui
from backend.errors import NotFound
from backend.files.given_file import read_given, read_trusted, unreadable
from backend.files.text import printable
from backend.files.yaml_reader import Value, parse_yaml

DEFAULT = "dark"
PREFIX = "numatui-"
"""Prefix of each theme's name, so that none replaces one of Textual's."""

_COLORS = (
    "background", "surface", "panel", "foreground", "primary", "secondary", "accent", "success", "warning", "error",
)  # fmt: skip
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def shipped() -> Path:
    """The folder of the shipped themes: inside the package when installed, beside it in a checkout."""
    inside = Path(numatui.__file__).parent / "themes"
    return inside if inside.is_dir() else inside.parent.parent / "themes"


def load(path: Path, trusted: bool = False) -> Theme:
    """Read one theme file. `trusted`: it must be. Raises NotFound, Untrusted; ParseError with file, line and key."""
    try:
        text = (read_trusted if trusted else read_given)(path).decode()
    except OSError as exc:
        raise unreadable(f"the theme {path}", exc) from None
    except UnicodeDecodeError as exc:
        raise NotFound(f"the theme {path} cannot be read ({exc})") from None
    keys = parse_yaml(text, str(path)).mapping((*_COLORS, "nodes", "dark"), (*_COLORS, "nodes"))
    colors = {key: _color(keys[key]) for key in _COLORS}
    shades = [_color(one) for one in keys["nodes"].items()]
    if not shades:
        keys["nodes"].fail("has no colour", "give at least one, like '#4aa8e0'")
    return Theme(
        PREFIX + path.stem,
        dark=keys.read("dark", Value.truth, True),
        variables={
            "node-count": str(len(shades)),
            **{f"node-{index}": shade for index, shade in enumerate(shades)},
            "border": colors["panel"],
            "footer-key-foreground": colors["primary"],
            "input-selection-background": colors["panel"],
        },
        background=colors["background"],
        surface=colors["surface"],
        panel=colors["panel"],
        foreground=colors["foreground"],
        primary=colors["primary"],
        secondary=colors["secondary"],
        accent=colors["accent"],
        success=colors["success"],
        warning=colors["warning"],
        error=colors["error"],
    )


def _color(value: Value) -> str:
    text = value.text()
    if not _HEX.fullmatch(text):
        value.fail(f"'{printable(text, 40)}' is not a colour", "write it like '#4aa8e0'")
    return text
