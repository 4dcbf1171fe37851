"""Options that choose memory by how it is used: what is hot, what is cold, how much of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from backend.errors import UsageError
from backend.heat.choosing import HeatWish, Which
from backend.heat.heat import HIGHEST, WAYS, Way
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.format import parse_duration, parse_size

SHORTEST, LONGEST = 10**8, 3600 * 10**9
"""Nanoseconds of one window."""
_MOST_WINDOWS = 1000
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?:/s)?")

Window = Annotated[str, typer.Option(metavar="TIME", help="Memory that is used within this time is hot: 500ms, 10s.")]
Windows = Annotated[int, typer.Option(min=1, max=_MOST_WINDOWS, help="How often it is looked at.")]
Hold = Annotated[
    str,
    typer.Option(metavar="TIME", help="Without DAMON: for how long a process may be held up at a time to look at it."),
]
WayName = Annotated[str, typer.Option(metavar="WAY", help="damon, referenced, or auto: the best that there is here.")]


@dataclass(frozen=True, slots=True)
class HeatOptions:
    """Which memory is meant; without any of them all of it."""

    hot: Annotated[bool, typer.Option("--hot", help="Only memory that is used, the hottest first.")] = False
    cold: Annotated[bool, typer.Option("--cold", help="Only memory that is not used.")] = False
    hotter_than: Annotated[
        str | None,
        typer.Option("--hotter-than", metavar="RATE", help="Only memory used more often, in times a second: 50/s."),
    ] = None
    most: Annotated[
        str, typer.Option("--max", metavar="SIZE", help="With these: at most so much (10GiB), what counts most first.")
    ] = "0"
    window: Window = "1s"
    windows: Windows = 3
    way: WayName = "auto"
    hold: Hold = "100ms"

    def wish(self) -> HeatWish | None:
        """Raises UsageError."""
        most = parse_size(self.most)
        if self.cold and (self.hot or self.hotter_than is not None):
            raise UsageError("--cold excludes --hot and --hotter-than", "choose one of them")
        if not (self.hot or self.cold or self.hotter_than is not None):
            if most:
                raise UsageError("--max says how much of hot or cold memory", "add --hot, --cold or --hotter-than")
            return None
        rate = parse_times(self.hotter_than) if self.hotter_than is not None else 0.0
        return wish_of("cold" if self.cold else "hot", self.window, self.windows, self.way, self.hold, rate, most)


def wish_of(which: Which, window: str, windows: int, way: str, hold: str, rate: float = 0.0, most: int = 0) -> HeatWish:
    """Raises UsageError."""
    return HeatWish(which, rate, most, parse_window(window) / 1e9, windows, way_of(way), parse_duration(hold))


@contextmanager
def watching(wish: HeatWish | None) -> Generator[threading.Event | None]:
    """Signals end the watching in order. Without anything to watch they end the program, as ever."""
    if wish is None:
        yield None
    else:
        with cancelled_by_signals() as cancel:
            yield cancel


def parse_window(text: str) -> int:
    """Nanoseconds. Raises UsageError."""
    length = parse_duration(text)
    if not SHORTEST <= length <= LONGEST:
        raise UsageError(f"{text[:40]} is no length of a window", "100ms to 1h")
    return length


def parse_times(text: str) -> float:
    """`50`, `50/s` → times a second. Raises UsageError."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text[:40]}' is not a number of times a second", "write it like 50/s")
    if float(match[1]) >= HIGHEST:
        raise UsageError(f"'{text}' is more than can be seen", f"less than {HIGHEST}/s")
    return float(match[1])


def way_of(text: str) -> Way | None:
    """None for `auto`. Raises UsageError."""
    for one in WAYS:
        if text == one:
            return one
    if text == "auto":
        return None
    raise UsageError(f"there is no way '{text[:40]}'", f"choose one of auto, {', '.join(WAYS)}")
