"""`migrate --wait-for NAME`: a job for a process that is still to come."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated

import typer

from backend.errors import Interrupted, NotFound, UsageError
from backend.kernel import Kernel
from backend.selection.selection import Selection, matcher, select
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.watching import ticks
from numatui.format import parse_duration

_POLL = 250_000_000
"""Nanoseconds between two looks."""

WaitFor = Annotated[
    str | None,
    typer.Option(
        "--wait-for",
        metavar="NAME",
        help="Wait until a process of this name or command line (a glob, as --match) is there, and fits all other "
        "selectors too.",
    ),
]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help="With --wait-for: give up after this long (5m).")]


def waited_for(selection: Selection, name: str | None, timeout: str | None) -> tuple[Selection, int | None]:
    """What is waited for, and how long in nanoseconds, None for any time. Raises UsageError."""
    if name is None:
        if timeout is not None:
            raise UsageError("--timeout is for --wait-for", "leave it out, or give --wait-for NAME")
        return selection, None
    if selection.pids:
        raise UsageError("--wait-for and pids exclude each other", "a process that is still to come has no pid")
    return replace(selection, match=(*selection.match, name)), None if timeout is None else parse_duration(timeout)


def wait_for(kernel: Kernel, selection: Selection, limit: int | None) -> None:
    """Return when a process fits. Raises NotFound when none has within `limit`, Interrupted, and for selectors that
    cannot fit what `matcher` raises."""
    matcher(kernel, selection)
    with cancelled_by_signals() as cancel:
        for at in ticks(kernel, _POLL, 0, cancel):
            with suppress(NotFound):
                select(kernel, selection)
                return
            if limit is not None and at * 1e9 >= limit:
                raise NotFound(
                    f"no process that fits has come within {output.duration(limit / 1e9)}", "give it more --timeout"
                )
    raise Interrupted("interrupted while waiting; nothing was moved")
