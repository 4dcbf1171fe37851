"""The first thing on the screen: a line that says what is being done, before toolkit and machine are there. Imports no
UI toolkit."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class FirstFrame:
    """On the other screen of the terminal, where the terminal UI will be. `leave` gives the first one back, if the UI
    does not come."""

    def __init__(self) -> None:
        self.shown = False
        self._before: Any = None

    def show(self, doing: str) -> None:
        """`doing`: our own words. Nothing where there is no terminal that can draw: `start` says what is wrong."""
        if sys.stderr.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
            self.shown = True
            with suppress(ValueError):  # signals are the main thread's
                self._before = signal.signal(signal.SIGTERM, self._ended)
            self._write(f"{_ENTER}{_BOLD} numatui {_PLAIN} {doing}")

    def taken(self) -> None:
        """The terminal UI draws from now on, and gives the screen back itself."""
        self.shown = False
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def leave(self) -> None:
        if self.shown:
            self.taken()
            self._write(_LEAVE)

    def _ended(self, number: int, _: object) -> None:
        """A signal while the toolkit is imported: it would leave the terminal on its other screen."""
        self.leave()
        raise SystemExit(128 + number)

    def _write(self, text: str) -> None:
        # Textual draws on stderr too (LinuxDriver).
        sys.stderr.write(text)
        sys.stderr.flush()


first_frame = FirstFrame()
"""Of this program: there is one terminal."""
