"""Handles keys one after the other. Textual forwards a key to the focused widget without waiting for the effect of the
previous key (`App.on_event`, `Screen._forward_event`). With fast typing, pasting or a slow line, the letters of a
filter after `/` would become commands."""

from __future__ import annotations

import time
from collections import deque

from textual import events
from textual.app import App
from textual.message import Message

PATIENCE = 1.0
"""Seconds after which the next key is forwarded anyway, so that a stuck handler does not block the keyboard."""


class KeyPassed(Message):
    """Posted behind a key; it bubbles from the focused widget to the app after the key was handled."""


class KeyOrderApp(App[int]):
    """Forwards a key after the previous key was handled."""

    _under_way = 0.0
    """When the key in progress was forwarded (`time.monotonic`); 0: no key is in progress."""

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
        """`call_later` queues behind the messages that the key caused, such as a change of focus."""
        self.call_later(self._next_key)
