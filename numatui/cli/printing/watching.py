"""`--watch` repeats a command's output at an interval, as mpstat does; `--follow` polls at one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from backend.errors import UsageError
from backend.kernel import Kernel
from numatui.cli.printing.waiting import wait
from numatui.format import parse_duration

Watch = Annotated[
    str | None,
    typer.Option(
        metavar="INTERVAL",
        help="Repeat every INTERVAL (1, 500ms); Ctrl-C ends it. With --json one document a line.",
    ),
]
Count = Annotated[int | None, typer.Option(min=1, help="With --watch: end after this many.")]
# Nanoseconds; the shortest interval.
_SHORTEST = 10_000_000
_ALIVE = 30_000_000_000


def interval_of(watch: str | None, count: int | None) -> int | None:
    """Nanoseconds between two readings; None without --watch. Raises UsageError."""
    if watch is None:
        if count is not None:
            raise UsageError("--count is for --watch", "leave it out, or give --watch INTERVAL")
        return None
    nanoseconds = parse_duration(watch)
    if nanoseconds < _SHORTEST:
        raise UsageError(f"'{watch}' is too short", "at least 10ms")
    return nanoseconds


def ticks(
    kernel: Kernel,
    interval: int,
    count: int | None,
    cancel: threading.Event,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[float]:
    """Yield at each interval the seconds since the first one, by the kernel's clock; then flush stdout. Ends after
    `count` (None: never), when `cancel` is set, and when the clock stops (the end of a recording). `alive` is called
    while it waits, every 30 s."""
    began = kernel.clock()
    number = 0
    while True:
        yield (kernel.clock() - began) / 1e9
        sys.stdout.flush()
        number += 1
        due = began + number * interval
        if number == count:
            return
        while (rest := due - kernel.clock()) > _ALIVE:
            if not wait(kernel, _ALIVE, cancel):
                return
            alive()
        if not wait(kernel, max(1, rest), cancel):
            return


def begin_block(at: float) -> None:
    """Begin a table with the time: on a terminal in place of the previous one, elsewhere after an empty line."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        sys.stdout.write("\x1b[H\x1b[J")
    elif at:
        sys.stdout.write("\n")
    sys.stdout.write(f"at {at:.1f} s\n")
