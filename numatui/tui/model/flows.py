"""Pages that move between nodes, from two readings of the same processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backend.placement.survey import ProcessRow
from backend.process.process import Identity

Flows = Mapping[tuple[int, int], float]
"""(source, target) → bytes a second."""


class FlowMeter:
    """Compares each reading with the one before. No counter of the kernel tells what left one node for another: it is
    what a process has less here and more there, and never more than what the kernel says it migrated."""

    def __init__(self) -> None:
        self._last: dict[Identity, Mapping[int, int]] = {}
        self._at = 0

    def add(self, now: int, rows: Iterable[ProcessRow], migrated: float) -> Flows:
        """The flows since the previous call. `now`: nanoseconds of the kernel's clock. `migrated`: bytes a second that
        the kernel has migrated, on the whole machine."""
        seconds, self._at = (now - self._at) / 1e9, now
        last, here = self._last, dict[Identity, Mapping[int, int]]()
        for row in rows:
            if row.by_node is not None:
                here[row.process.identity] = row.by_node
        self._last = here
        if not last or seconds <= 0 or migrated < 1:
            return {}
        moved: dict[tuple[int, int], float] = {}
        for identity, by_node in here.items():
            before = last.get(identity)
            if before is not None and before is not by_node and before != by_node:
                _add(moved, before, by_node)
        total = sum(moved.values())
        scale = min(1.0, migrated * seconds / total) / seconds if total else 0.0
        return {pair: amount * scale for pair, amount in moved.items()}


def _add(moved: dict[tuple[int, int], float], before: Mapping[int, int], after: Mapping[int, int]) -> None:
    """Adds what one process has less on some nodes and more on others, in proportion."""
    change = {node: after.get(node, 0) - before.get(node, 0) for node in {*before, *after}}
    gained = {node: amount for node, amount in change.items() if amount > 0}
    lost = {node: -amount for node, amount in change.items() if amount < 0}
    more, less = sum(gained.values()), sum(lost.values())
    if not more or not less:
        return
    for source, out in lost.items():
        for target, into in gained.items():
            moved[source, target] = moved.get((source, target), 0.0) + out * into / max(more, less)
