"""Keys: every one has a name, by which the user's `config.yaml` gives it other keys."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping

from textual.binding import Binding


def key(
    keys: str, action: str, text: str, show: bool = False, display: str | None = None, priority: bool = False
) -> Binding:
    """A binding whose name is its action: `sort('rss')` is `sort-rss`. `show`: in the line at the bottom, as
    `display`."""
    binding = Binding(keys, action, text, show=show, key_display=display, id=name_of(action), priority=priority)
    _bindings.append(binding)
    return binding


_bindings: list[Binding] = []


def all_bindings() -> list[tuple[str, str, str]]:
    """(name, keys, what they do) of all keys of all screens, each once, by name."""
    _import_all()
    found = {(str(one.id), one.key, one.description) for one in _bindings}
    return sorted(found)


def all_names() -> set[str]:
    """Of all keys of all screens."""
    _import_all()
    return {str(one.id) for one in _bindings}


def _import_all() -> None:
    """Keys are known when their screen is."""
    importlib.import_module("numatui.tui.app")
    for package in ("numatui.tui.screens", "numatui.tui.widgets"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
            importlib.import_module(module.name)


def name_of(action: str) -> str:
    """`app.help` → `help`, `refresh(-1)` → `refresh-less`, `jump(0)` → `jump-0`."""
    plain = action.rpartition("app.")[2].replace("(-", "-less-").replace("-less-1)", "-less")
    return re.sub(r"[^a-z0-9]+", "-", plain.casefold()).strip("-")


def keymap(wanted: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """What the user wants, as far as there are such names; and the names that there are not."""
    known = set(names)
    return (
        {name: keys for name, keys in wanted.items() if name in known},
        [name for name in wanted if name not in known],
    )
