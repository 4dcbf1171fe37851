"""Textual bindings for the keys of `KEYS`, and the user's own keys from `config.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingType

from numatui.tui.key_table import KEYS, name_of


def bindings(place: str) -> list[BindingType]:
    """The bindings of one place of `KEYS`. The id of a binding is its name in `config.yaml`."""
    return [
        Binding(
            one.keys,
            one.action,
            one.text,
            show=one.show,
            key_display=one.display,
            id=name_of(one.action),
            priority=one.priority,
        )
        for one in KEYS[place]
    ]


def digits(action: str, text: str) -> list[BindingType]:
    """The keys 0 to 9; the digit is the argument of the action. They have no id, so users cannot rebind them."""
    return [Binding(str(digit), f"{action}({digit})", text, show=False) for digit in range(10)]


def keymap(wanted: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """(keys for known names, unknown names) of the user's configuration."""
    known = set(names)
    return (
        {name: keys for name, keys in wanted.items() if name in known},
        [name for name in wanted if name not in known],
    )
