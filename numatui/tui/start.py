"""Opening the TUI."""

from __future__ import annotations

import sys

from backend.errors import NumatuiError, UsageError
from numatui import config, theming
from numatui.tui.app import NumatuiApp
from numatui.tui.machine import Choice, Machine, open_machine, simulated_time


def start(choice: Choice) -> int:
    """Run the TUI on the machine that was chosen and return the exit code. Raises UsageError without a terminal,
    NotSupported, NotFound, ParseError where that machine cannot be opened."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "the terminal UI needs a terminal",
            "numatui ps, nodes and the other commands do without; see --help",
        )
    machine = open_machine(choice)
    settings, problem = config.Config(), ""
    try:
        settings = config.load()
    except NumatuiError as exc:
        problem = str(exc)
    interval, theme = settings.interval, settings.theme
    while True:
        app = NumatuiApp(machine.kernel, machine.notice, interval, theme, config.folder() / "themes", problem)
        run(app)
        if not app.next_scenario:
            return app.return_code or 0
        interval, theme, problem = app.interval, app.theme.removeprefix(theming.PREFIX), ""
        machine = open_scenario_instead(app.next_scenario, machine)


def run(app: NumatuiApp) -> None:
    """The app from its start to its end, with its machine's time running."""
    clock = simulated_time(app.kernel)
    if clock is not None:
        clock.start()
    try:
        app.run()
    finally:
        if clock is not None:
            clock.stop()


def open_scenario_instead(name: str, machine: Machine) -> Machine:
    """The machine of a scenario in place of another; that one again, with a note why, where it cannot be opened."""
    from backend.emulator.kernel import open_scenario

    try:
        return Machine(open_scenario(name))
    except NumatuiError as exc:
        return Machine(machine.kernel, str(exc))
