"""Themes as data: one YAML file a theme, the shipped ones and the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import yaml
from textual.theme import Theme

import numatui
from backend.errors import NotFound, ParseError

DEFAULT = "dark"
PREFIX = "numatui-"
"""Before the name of each theme, so that none takes the place of one of Textual's."""

_COLORS = (
    "background", "surface", "panel", "foreground", "primary", "secondary", "accent", "success", "warning", "error",
)  # fmt: skip
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def shipped() -> Path:
    """The folder of the themes that come along: inside the package when installed, beside it in a checkout."""
    inside = Path(numatui.__file__).parent / "themes"
    return inside if inside.is_dir() else inside.parent.parent / "themes"


def load(path: Path) -> Theme:
    """One theme file. Raises NotFound, ParseError naming the file and the key."""
    try:
        raw: object = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise NotFound(f"the theme {path} cannot be read ({exc})") from None
    except yaml.YAMLError as exc:
        raise ParseError(f"{path} is not YAML ({' '.join(str(exc).split())})") from None
    if not isinstance(raw, dict):
        raise ParseError(f"{path} is not a theme", f"it gives {', '.join(_COLORS)}, nodes and dark")
    document = cast(dict[str, Any], raw)
    unknown = set(document) - {*_COLORS, "nodes", "dark"}
    if unknown:
        raise ParseError(
            f"{path}: there is no key {sorted(map(str, unknown))[0]}", f"the keys are {', '.join(_COLORS)}"
        )
    colors = {key: _color(path, key, document.get(key)) for key in _COLORS}
    nodes = document.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise ParseError(f"{path}: nodes is not a list of colours", "give at least one, like '#4aa8e0'")
    shades = [_color(path, f"nodes[{index}]", one) for index, one in enumerate(cast(list[Any], nodes))]
    return Theme(
        PREFIX + path.stem,
        dark=bool(document.get("dark", True)),
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


def _color(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ParseError(f"{path}: {key} is not a colour", "write it like '#4aa8e0'")
    return value
