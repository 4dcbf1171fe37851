"""Keys as Textual binds them, and the names by which the user's `config.yaml` gives them other keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingType

from numatui.tui.key_table import KEYS, name_of


def bindings(place: str) -> list[BindingType]:
    """The keys that work in one place of `KEYS`; each has its name as its id."""
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
    """The keys 0 to 9, each as the argument of the action; they have no names and stay as they are."""
    return [Binding(str(digit), f"{action}({digit})", text, show=False) for digit in range(10)]


def keymap(wanted: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """What the user wants, as far as there are such names; and the names that there are not."""
    known = set(names)
    return (
        {name: keys for name, keys in wanted.items() if name in known},
        [name for name in wanted if name not in known],
    )
