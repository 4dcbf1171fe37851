"""What is known of each host of a fleet, in what order they stand, and their sum. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from backend.errors import UsageError
from backend.files.text import printable
from backend.fleet.view import HostMemory, HostView
from backend.selection.selection import Selection
from backend.selection.terms import SELECTORS
from numatui.format import parse_size


@dataclass(frozen=True, slots=True)
class HostRow:
    """`view`: what it said last; `error`: why it did not answer then; neither: it was not asked yet. `memory`: of all
    its processes, read at `memory_at` (seconds of a monotonic clock)."""

    host: str
    view: HostView | None = None
    memory: HostMemory | None = None
    memory_at: float = 0.0
    error: str = ""

    def heard(self, view: HostView, memory: HostMemory | None, at: float) -> HostRow:
        if memory is None:
            return replace(self, view=view, error="")
        return HostRow(self.host, view, memory, at)

    def failed(self, error: str) -> HostRow:
        """What was known of it stays, until it answers again."""
        return replace(self, error=error)

    @property
    def far(self) -> int:
        return self.memory.far if self.memory is not None and not self.error else 0


ORDERS: dict[str, Callable[[HostRow], tuple[float, ...]]] = {
    "host": lambda row: (),
    "free": lambda row: (float("inf") if row.view is None else row.view.free / max(1, row.view.total),),
    "local": lambda row: (2.0 if row.memory is None or row.memory.local is None else row.memory.local,),
    "far": lambda row: (-row.far,),
    "wait": lambda row: (-((row.view.pressure if row.view else None) or 0.0),),
    "jobs": lambda row: (-(row.view.running if row.view else 0), -(row.view.jobs if row.view else 0)),
}
"""Those with the most to do first. `host`: as they were named."""


def shown(rows: Iterable[HostRow], order: str, wanted: str) -> list[HostRow]:
    """`wanted`: part of a host's name, or a shell pattern; `!` before it turns it round."""
    text = wanted.strip().casefold()
    turned, text = text.startswith("!"), text.removeprefix("!")

    def fits(row: HostRow) -> bool:
        name = row.host.casefold()
        return not text or (text in name or fnmatchcase(name, text)) != turned

    return sorted(filter(fits, rows), key=ORDERS[order])


@dataclass(frozen=True, slots=True)
class Summary:
    """`answered`, `failed`: hosts; the others were not asked yet. `far`: bytes, on `far_on` hosts, of `known` whose
    processes were looked at."""

    hosts: int
    answered: int
    failed: int
    far: int
    far_on: int
    known: int
    running: int


def summary(rows: Sequence[HostRow]) -> Summary:
    return Summary(
        len(rows),
        sum(1 for row in rows if row.view is not None and not row.error),
        sum(1 for row in rows if row.error),
        sum(row.far for row in rows),
        sum(1 for row in rows if row.far),
        sum(1 for row in rows if row.memory is not None and not row.error),
        sum(row.view.running for row in rows if row.view is not None and not row.error),
    )


def selection_of(text: str) -> Selection:
    """The processes that are meant: `match:ora_*`, `unit:postgresql`, `min:1G`, as in the filter of the process table;
    a bare word is part of a name or command. Raises UsageError: also if nothing is named, for that would be all."""
    found: dict[str, list[str]] = {}
    minimum, patterns = 0, list[str]()
    for word in text.split():
        key, colon, value = word.partition(":")
        if not colon:
            patterns.append(word)
        elif key == "min":
            minimum = parse_size(value)
        elif key in SELECTORS and value:
            found.setdefault(key, []).append(value)
        else:
            raise UsageError(
                f"'{printable(word, 40)}' names no processes", f"write match:ora_*, or {', '.join(SELECTORS)} like it"
            )
    named = {key: tuple(values) for key, values in found.items()}
    made = Selection(patterns=tuple(patterns), minimum=minimum, **named)  # pyright: ignore[reportArgumentType]
    if made.is_everybody:
        raise UsageError("no process is named", "write unit:postgresql, match:ora_*, cgroup:/db …")
    return made
