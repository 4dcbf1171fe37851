"""Confirmation, signals and progress bar of commands that move pages."""

from __future__ import annotations

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
    from backend.job.outcome import Progress


def confirm(amount: int, yes: bool, what: str = "Move", also: bool = False) -> None:
    """Ask before `amount` bytes move or something else changes (`also`), unless `yes`. Raises UsageError if stdin is no
    terminal."""
    if yes or not (amount or also):
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", "say --yes to move without being asked")
    typer.confirm(f"{what} {output.size(amount)}?", default=False, abort=True, err=True)


@contextmanager
def cancelled_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set instead of ending the program."""
    cancel = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [(one, signal.signal(one, lambda *_: cancel.set())) for one in signals]
    try:
        yield cancel
    finally:
        for one, handler in previous:
            signal.signal(one, handler)


class ProgressBar:
    """A progress bar on stderr; nothing if stderr is no terminal."""

    def __init__(self, pid: int, quiet: bool) -> None:
        self.pid = pid
        self.bar: Any = None
        self.wanted = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Any:
        if not self.wanted:
            return lambda _: None
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        self.bar = Bar(
            f"{self.pid}", BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self.bar.start()
        task = self.bar.add_task("", total=None)

        def show(progress: Progress) -> None:
            self.bar.update(task, completed=progress.done, total=progress.total)

        return show

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
