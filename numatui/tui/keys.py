"""Textual bindings for the keys of `KEYS`, and the user's own keys from `config.yaml`."""

from __future__ import annotations

from collections.abc import Mapping

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


_TOGETHER: tuple[tuple[str, ...], ...] = (
    ("processes", "process-table", "table"), ("process", "table"), ("advice", "advice-table", "table"),
    ("cgroups", "cgroup-table", "table"), ("nodes", "node-table", "table"), ("migrate", "node-map"), ("job",),
    ("jobs", "job-table", "table"), ("log", "table"), ("follow", "table"), ("microscope", "frame-map"),
    ("scenarios", "scenario-table", "table"),
    ("samples-compared", "table"),
    ("fleet", "fleet-table", "fleet-app", "table"), ("fleet-move", "fleet-plans", "fleet-app", "table"),
    ("tour",), ("compare",), ("question",), ("chooser",), ("several-chooser",), ("cpuset-change",), ("help",),
)  # fmt: skip
"""Places of `KEYS` whose keys work at the same time."""
_EVERYWHERE = ("app", "demo", "replay")
_DIALOGS = ("question", "chooser", "several-chooser", "cpuset-change", "help")
"""Nothing of `_EVERYWHERE` works there."""


def keymap(wanted: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The user's keys by name, without those that cannot be taken, and why each of these cannot: it has no such name,
    or it is another's key on the same screen."""
    known = {name_of(key.action) for keys in KEYS.values() for key in keys}
    problems = [f"nothing is named {name}" for name in wanted if name not in known]
    taken = {name: keys for name, keys in wanted.items() if name in known}
    # What is refused gets its own key back, which may be in the way of another.
    while refused := [(name, other) for name in taken if (other := _owner(name, taken))]:
        name, other = refused[0]
        problems.append(f"{name}: {taken.pop(name)} is the key of {other}")
    return taken, problems


def _owner(name: str, taken: Mapping[str, str]) -> str:
    """Another action that has one of the keys of this one where it works, or nothing."""
    new = set(taken[name].split(","))
    for places in _TOGETHER:
        active = [key for place in places for key in KEYS[place]]
        if not (places[0] in _DIALOGS or "fleet-app" in places):
            active += [key for place in _EVERYWHERE for key in KEYS[place]]
        if not any(name_of(key.action) == name for key in active):
            continue
        for key in active:
            other = name_of(key.action)
            if other != name and new & set(taken.get(other, key.keys).split(",")):
                return other
    return ""
