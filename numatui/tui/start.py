"""Opens the TUI."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from backend.errors import NumatuiError, UsageError
from backend.files.text import printable
from numatui import config
from numatui.tui.app import NumatuiApp
from numatui.tui.first_frame import first_frame
from numatui.tui.reading.machine import MachineChoice, ShownMachine, open_machine, simulated_time
from numatui.tui.state import saved_state

if TYPE_CHECKING:
    from backend.recording.as_scenario import Copy
    from numatui.tui.fleet.reader import Fleet


def start(choice: MachineChoice) -> int:
    """Runs the TUI on the chosen machine and returns the exit code. Raises UsageError without a terminal;
    NotSupported, NotFound or ParseError if the machine cannot be opened."""
    check_terminal()
    return show(open_machine(choice))


def start_fleet(fleet: Fleet) -> int:
    """The fleet; hosts that are opened, one after the other; and the fleet again after each. Raises UsageError without
    a terminal."""
    from backend.remote.open import close_all, open_host
    from numatui.tui.fleet.app import FleetApp, Kept

    check_terminal()
    before: Kept | None = None
    notice = ""
    while True:
        settings, problem = _settings()
        kept = saved_state.load(saved_state.saved_state_path())
        app = FleetApp(
            fleet, settings.theme or kept.theme, config.folder() / "themes", problem, settings.keys, before=before,
            notice=notice,
        )  # fmt: skip
        first_frame.taken()
        app.run(mouse=not in_screen())
        if not app.opened or app.return_code:
            return app.return_code or 0
        before, notice = app.kept(), ""
        first_frame.show(f"connecting to {printable(before.opened, 60)} …")
        try:
            there = open_host(before.opened, fleet.sudo)
            code = show(ShownMachine(there, "Esc or q goes back to the fleet.", back=True))
            if code:
                return code  # a signal ends all of it
        except NumatuiError as exc:
            notice = str(exc)
        except KeyboardInterrupt:
            notice = f"{before.opened}: interrupted"
        finally:
            close_all()


def check_terminal() -> None:
    """Raises UsageError if there is none that can draw."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "the terminal UI needs a terminal",
            "numatui ps, nodes and the other commands do without; see --help",
        )
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(
            f"the terminal UI cannot draw on this terminal (TERM={os.environ['TERM']})",
            "numatui ps, nodes and the other commands do without; or set TERM to what it is, such as xterm-256color",
        )


def _settings() -> tuple[config.Config, str]:
    """The configuration, or the usual one and what is wrong with it."""
    try:
        return config.load(), ""
    except NumatuiError as exc:
        return config.Config(), str(exc)


def show(machine: ShownMachine) -> int:
    """Shows a machine, and those that are opened from it, until the user leaves. The exit code."""
    settings, problem = _settings()
    path = saved_state.saved_state_path()
    copied: list[tuple[ShownMachine, NumatuiApp]] = []
    before: NumatuiApp | None = None
    interval, theme, as_left = settings.interval, settings.theme, saved_state.load(path)
    while True:
        app = NumatuiApp(
            machine.kernel,
            machine.notice,
            as_left,
            interval,
            theme,
            config.folder() / "themes",
            problem,
            settings.keys,
            machine.copy,
            machine.back,
        )
        if not settings.animation:
            app.animation_level = "none"
        if before is not None:
            app.go_on_from(before)
            before = None
        try:
            run(app)
        finally:
            as_left = app.left()
            saved_state.save(path, as_left)
        interval, theme, problem = as_left.interval, as_left.theme, ""
        if app.next_copy is not None:
            copied.append((replace(machine, notice=""), app))
            machine = open_copy(app.next_copy, machine)
        elif app.next_scenario:
            machine = open_scenario_instead(app.next_scenario, machine)
        elif copied and not app.return_code:
            machine, before = copied.pop()
        else:
            return app.return_code or 0


def run(app: NumatuiApp) -> None:
    """Runs the app until it ends. Simulated time runs meanwhile."""
    clock = simulated_time(app.kernel)
    if clock is not None:
        clock.start()
        if app.left_at is not None:
            clock.speed = app.left_at
    first_frame.taken()
    try:
        app.run(mouse=not in_screen())
    finally:
        if clock is not None:
            app.left_at = clock.speed
            clock.stop()


def in_screen() -> bool:
    """Whether this runs inside GNU screen. Screen (seen with 4.9) delays Escape until the next key if a program has
    asked for the mouse."""
    return "STY" in os.environ


def open_copy(copy: Copy, machine: ShownMachine) -> ShownMachine:
    """The copy as a machine. If it cannot be opened: `machine`, with the error as its notice."""
    from backend.emulator.scenario.open import open_text

    smaller = f", {copy.scale} times smaller" if copy.scale > 1 else ""
    try:
        return ShownMachine(
            open_text(copy.text, "copy.yaml"),
            f"This is a copy with {copy.processes} processes{smaller}: try what you like; q goes back to the "
            "machine itself. "
            "numatui emulate --from-live --write copy.yaml keeps one.",
            copy=True,
        )
    except NumatuiError as exc:
        return ShownMachine(machine.kernel, str(exc))


def open_scenario_instead(name: str, machine: ShownMachine) -> ShownMachine:
    """The machine of a scenario. If it cannot be opened: `machine`, with the error as its notice."""
    from backend.emulator.scenario.open import open_scenario

    try:
        return ShownMachine(open_scenario(name))
    except NumatuiError as exc:
        return ShownMachine(machine.kernel, str(exc))
