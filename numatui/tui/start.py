"""Opening the TUI."""

from __future__ import annotations

import sys

from backend.errors import NumatuiError, UsageError
from numatui import config
from numatui.tui.app import NumatuiApp
from numatui.tui.machine import Choice, open_machine, simulated_time


def start(choice: Choice) -> int:
    """Run the TUI on the machine that was chosen and return the exit code. Raises UsageError without a terminal,
    NotSupported, NotFound, ParseError where that machine cannot be opened."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "the terminal UI needs a terminal",
            "numatui ps, nodes and the other commands do without; see --help",
        )
    machine = open_machine(choice)
    clock = simulated_time(machine.kernel)
    if clock is not None:
        clock.start()
    try:
        settings, problem = config.Config(), ""
        try:
            settings = config.load()
        except NumatuiError as exc:
            problem = str(exc)
        themes = config.folder() / "themes"
        app = NumatuiApp(machine.kernel, machine.notice, settings.interval, settings.theme, themes, problem)
        app.run()
        return app.return_code or 0
    finally:
        if clock is not None:
            clock.stop()
