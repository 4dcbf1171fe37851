"""Which processes are shown, in which order, and which are tagged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.process import Identity
from backend.survey import Row


@dataclass
class Listing:
    """`pattern`: text looked for in pid, user and command, without regard to case."""

    rows: Sequence[Row] = ()
    pattern: str = ""
    sort: str = "rss"
    descending: bool = True
    tagged: set[Identity] = field(default_factory=set)

    def read(self, rows: Sequence[Row]) -> None:
        """A new reading: tags of processes that have gone are forgotten."""
        self.rows = rows
        if self.tagged:
            self.tagged &= {row.process.identity for row in rows}

    def view(self, order: Callable[[Row], Any] | None) -> list[Row]:
        """The rows to show. Rows without a value come last, whatever the direction; equals ascend by pid."""
        rows = [row for row in self.rows if self._matches(row)] if self.pattern else list(self.rows)
        if order is None:
            return rows
        valued = [(order(row), row) for row in rows]
        having = sorted(
            (one for one in valued if one[0] is not None), key=lambda one: one[0], reverse=self.descending
        )
        return [row for _, row in having] + [row for value, row in valued if value is None]

    def toggle(self, identity: Identity) -> None:
        """Tag a process, or take its tag away."""
        self.tagged ^= {identity}

    def chosen(self, current: Row | None) -> list[Row]:
        """The tagged processes, or the one under the cursor."""
        tagged = [row for row in self.rows if row.process.identity in self.tagged]
        return tagged or ([current] if current is not None else [])

    def _matches(self, row: Row) -> bool:
        wanted = self.pattern.casefold()
        process = row.process
        return (
            wanted in str(process.pid)
            or wanted in process.user.casefold()
            or wanted in process.command.casefold()
        )


def overall_local(rows: Iterable[Row]) -> float | None:
    """The share of all memory that lies where its process runs."""
    near, total = 0.0, 0
    for row in rows:
        if row.by_node and (share := row.local) is not None:
            here = sum(row.by_node.values())
            near += share * here
            total += here
    return near / total if total else None
