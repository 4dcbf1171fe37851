"""Confirmation, signals and progress bar of commands that move pages."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from backend.errors import UsageError
from numatui.cli.printing import output

if TYPE_CHECKING:
    from backend.job.events import Event, OnEvent
    from backend.plan.plan import Plan


def confirm(amount: int, yes: bool, what: str = "Move", also: bool = False) -> None:
    """Ask before `amount` bytes move or something else changes (`also`), unless `yes`. Raises UsageError if stdin is no
    terminal."""
    if yes or not (amount or also):
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", "say --yes to move without being asked")
    typer.confirm(f"{what} {output.size(amount)}?", default=False, abort=True, err=True)


_INSISTING = 3
"""Signals."""


@contextmanager
def cancelled_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set instead of ending the program. The third one ends it: what it waits
    for may hang."""
    cancel = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    received = 0

    def receive(number: int, _: object) -> None:
        nonlocal received
        received += 1
        if received == _INSISTING:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        cancel.set()

    previous = [(one, signal.signal(one, receive)) for one in signals]
    try:
        yield cancel
    finally:
        for one, handler in previous:
            signal.signal(one, handler)


class ProgressBar:
    """A progress bar on stderr over all processes of a job; nothing if stderr is no terminal."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.plan = plan
        self.bar: Any = None
        self.wanted = not quiet and sys.stderr.isatty()
        self._ended = 0

    def __enter__(self) -> OnEvent:
        if not self.wanted:
            return lambda _: None
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        self.bar = Bar(
            TextColumn("{task.fields[who]}", markup=False), BarColumn(), DownloadColumn(binary_units=True),
            TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self.bar.start()
        self.task = self.bar.add_task("", total=self.plan.bytes, who="")
        return self._show

    def _show(self, event: Event) -> None:
        from backend.job.events import PartBegan, PartEnded, Progressed

        if isinstance(event, PartBegan):
            which = f" ({event.part + 1} of {len(self.plan.processes)})" if len(self.plan.processes) > 1 else ""
            self.bar.update(self.task, who=f"{event.process.pid}{which}")
        elif isinstance(event, Progressed):
            total = max(self.plan.bytes, self._ended + event.progress.total)
            self.bar.update(self.task, completed=self._ended + event.progress.done, total=total)
        elif isinstance(event, PartEnded):
            self._ended += event.outcome.moved + sum(event.outcome.left.values())

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
