"""What became of each process between two readings of a machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.placement.survey import ProcessRow
from backend.process.process import Identity, Process

_NOTHING: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True)
class Change:
    """`before`, `after`: the process at the earlier and the later reading; None where it was not there."""

    before: ProcessRow | None
    after: ProcessRow | None

    @property
    def process(self) -> Process:
        row = self.after or self.before
        assert row is not None
        return row.process

    @property
    def by_node(self) -> dict[int, int]:
        """Bytes more, or fewer, on each node whose amount is another."""
        before, after = _amounts(self.before), _amounts(self.after)
        found = {node: after.get(node, 0) - before.get(node, 0) for node in sorted({*before, *after})}
        return {node: amount for node, amount in found.items() if amount}

    @property
    def grown(self) -> int:
        """Bytes that it has more than before."""
        return sum(self.by_node.values())

    @property
    def moved(self) -> int:
        """Bytes that it has less on some nodes and more on others."""
        amounts = self.by_node.values()
        return min(sum(one for one in amounts if one > 0), -sum(one for one in amounts if one < 0))

    @property
    def told(self) -> str:
        return "began" if self.before is None else "ended" if self.after is None else ""


def between(before: Iterable[ProcessRow], after: Iterable[ProcessRow]) -> list[Change]:
    """The processes that are not as they were: those with the most bytes elsewhere first, then those that grew or
    shrank, began or ended, then those that run on another node."""
    earlier: dict[Identity, ProcessRow] = {row.process.identity: row for row in before}
    later: dict[Identity, ProcessRow] = {row.process.identity: row for row in after}
    changes = [Change(earlier.get(identity), later.get(identity)) for identity in {**earlier, **later}]
    some = [one for one in changes if one.told or one.by_node or _ran(one.before) != _ran(one.after)]
    return sorted(some, key=lambda one: (-one.moved, -abs(one.grown), not one.told, one.process.pid))


def _amounts(row: ProcessRow | None) -> Mapping[int, int]:
    return _NOTHING if row is None or row.by_node is None else row.by_node


def _ran(row: ProcessRow | None) -> int | None:
    return None if row is None else row.node
