"""Widgets that are gone, and that their watchers keep in memory with all of their screen (seen with Textual 8)."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.dom import DOMNode


def forget_closed(node: DOMNode) -> None:
    """Textual drops the watchers of what was closed at the next change of what they watch (`Reactive._check_watchers`
    in reactive.py), which may never come: `speed` of a live machine, `compact` of a footer."""
    for watchers in getattr(node, "__watchers", {}).values():
        watchers[:] = [one for one in watchers if not one[0]._closing]


def forget_subscribers(app: App[Any]) -> None:
    """The same for the signal of another theme: its callbacks hold what its keys let go (signal.py)."""
    signal = app.theme_changed_signal
    for node in [one for one in signal._subscriptions if one._closing]:
        signal.unsubscribe(node)
