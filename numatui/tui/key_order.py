"""One key after the other. Textual hands a key to whatever has the focus without waiting for what the key before it
does: typed fast, pasted, or over a slow line, `/` and the letters of a filter would become commands."""

from __future__ import annotations

import time
from collections import deque

from textual import events
from textual.app import App
from textual.message import Message

PATIENCE = 1.0
"""Seconds after which the next key is handed on all the same."""


class KeyPassed(Message):
    """Follows a key on its way from the widget with the focus up to the app."""


class KeyOrderApp(App[int]):
    """Hands on a key when the one before it is done with."""

    _under_way = 0.0
    """When a key was handed on that is not done with; 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self._keys = deque[events.Key]()

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
        elif self._under_way and time.monotonic() - self._under_way < PATIENCE:
            self._keys.append(event)
        else:
            self._keys.append(event)
            await self._next_key()

    async def _next_key(self) -> None:
        self._under_way = 0.0
        if self._keys:
            await super().on_event(self._keys.popleft())
            target = self.focused or self.screen
            self._under_way = time.monotonic() if target.post_message(KeyPassed()) else 0.0

    def on_key_passed(self) -> None:
        """What the key has asked for, such as the focus for something else, comes first."""
        self.call_later(self._next_key)
