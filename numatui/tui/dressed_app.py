"""What every app of numatui has, whatever it shows: themes, the user's keys, ASCII, an end after signals, notifications
without markup."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.errors import NumatuiError
from backend.files.text import printable
from numatui import theming
from numatui.tui.key_order import KeyOrderApp
from numatui.tui.keys import keymap
from numatui.tui.paint.glyphs import ascii_only

_GRACE = 3.0
"""Seconds that jobs, and then the screen, get to end after a signal. A call takes 0.1 s by default."""
_TOLD = 3.0
"""Seconds for which a notification is seen that is no warning."""


class DressedApp(KeyOrderApp):
    """`problem`: an error in the configuration. `wanted_keys`: the user's key bindings, by name."""

    GRACE = _GRACE
    """Seconds that jobs get to end after a signal."""
    problem = ""
    config_theme: str | None = None
    """The theme that config.yaml names, which every start takes."""
    wanted_keys: Mapping[str, str] = {}

    def dress(self, theme: str, own_themes: Path | None) -> None:
        """Takes this theme. `own_themes`: a folder with more of them."""
        self._add_themes(theming.shipped())
        if own_themes is not None:
            self._add_themes(own_themes, trusted=True)
        wanted = theming.PREFIX + theme
        if wanted not in self.available_themes:
            self.problem = self.problem or f"there is no theme {theme}"
            wanted = theming.PREFIX + theming.DEFAULT
        if wanted in self.available_themes:
            self.theme = wanted

    def _add_themes(self, folder: Path, trusted: bool = False) -> None:
        for path in sorted(folder.glob("*.yaml")):
            try:
                self.register_theme(theming.load(path, trusted))
            except NumatuiError as exc:
                self.problem = self.problem or str(exc)

    def put_on(self) -> None:
        """Call it when the app is mounted, before a screen is shown."""
        self._set_keys()
        self.set_class(ascii_only(), "-ascii")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # Raised on Windows and outside of the main thread (asyncio: loop.add_signal_handler).
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, self._end_well, number)
        # The terminal shows an empty page after a stop (Ctrl+Z, fg), and Textual draws only what it thinks has changed.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh())

    def cancel_jobs(self) -> None:
        """Hook: jobs end after the call that they are in."""

    def jobs_run(self) -> bool:
        """Hook: whether one is under way."""
        return False

    def _end_well(self, number: int) -> None:
        """Ends the app after a signal. The terminal is restored; jobs end after their current call."""
        self.cancel_jobs()
        threading.Thread(target=self._end_anyway, args=(128 + number,), daemon=True).start()
        self.exit(128 + number, return_code=128 + number)

    def _end_anyway(self, code: int) -> None:
        """Ends the process even if Textual cannot: its `WriterThread.stop` blocks for ever on a terminal that is gone.
        The journal of a job already says what the job was about to do."""
        end = time.monotonic() + self.GRACE
        while time.monotonic() < end and self.jobs_run():
            time.sleep(0.05)
        time.sleep(_GRACE)
        os._exit(code)

    def _set_keys(self) -> None:
        """Applies the user's keys, but for those that another has on the same screen."""
        if not self.wanted_keys:
            return
        found, problems = keymap(self.wanted_keys)
        self.set_keymap(found)
        if problems:
            self.problem = self.problem or f"config.yaml: keys: {'; '.join(problems)}"

    def action_help_quit(self) -> None:
        """Answers Ctrl+C. Replaces Textual's own hint, which is text with markup."""
        self.tell("Press q to quit.")

    def copy(self, command: str) -> None:
        """To the clipboard, and says so."""
        self.copy_to_clipboard(command)
        self.tell("Copied, if the terminal lets programs do that (OSC 52).")

    def tell(self, text: str, **options: Any) -> None:
        """Shows a notification, in place of an older one that was no error: they lie over the screen. Markup is off,
        because the text may contain names from outside."""
        if all(one.severity != "error" for one in self._notifications):
            self.clear_notifications()
        options.setdefault("timeout", _TOLD if options.get("severity", "information") == "information" else None)
        self.notify(printable(text, 400), markup=False, **options)
