"""What the automatic mover remembers: consecutive advice, rests of processes, bytes moved in the last hour. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from backend.advice.advice import Advice
from backend.nodeset import NodeSet
from backend.process.process import Identity

_HOUR = 3600.0
_SOON = 10
"""A process that is tried again within so many cooldowns of its last rest rests twice as long."""
# The longest rest is 2**7 cooldowns: 21 hours by default.
_MOST_DOUBLINGS = 8


@dataclass(slots=True)
class _Rest:
    """`until`: seconds; `times`: attempts in a row, each soon after the last rest."""

    until: float
    times: int = 1


@dataclass(slots=True)
class Ledger:
    """Times in seconds of the kernel's clock."""

    _streaks: dict[Identity, tuple[NodeSet, int]] = field(default_factory=dict[Identity, tuple[NodeSet, int]])
    _rests: dict[Identity, _Rest] = field(default_factory=dict[Identity, _Rest])
    _moved: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def reading(self, advised: Collection[Advice], alive: Collection[Identity]) -> None:
        """Adds the advice of one reading. Processes that have ended are forgotten."""
        streaks: dict[Identity, tuple[NodeSet, int]] = {}
        for one in advised:
            if one.proposal is not None:
                targets, count = self._streaks.get(one.process.identity, (NodeSet(), 0))
                same = targets == one.proposal.targets
                streaks[one.process.identity] = (one.proposal.targets, count + 1 if same else 1)
        self._streaks = streaks
        self._rests = {identity: rest for identity, rest in self._rests.items() if identity in alive}

    def streak(self, identity: Identity) -> int:
        """Consecutive readings that advised the same targets."""
        return self._streaks.get(identity, (NodeSet(), 0))[1]

    def resting(self, identity: Identity, now: float) -> float:
        """Seconds of rest left, 0 if none."""
        rest = self._rests.get(identity)
        return max(0.0, rest.until - now) if rest is not None else 0.0

    def tried(self, identity: Identity, now: float, cooldown: float, moved: int) -> None:
        """Records an attempt and the bytes that it moved (0 if it failed)."""
        before = self._rests.get(identity)
        soon = before is not None and now - before.until < _SOON * cooldown
        times = min(before.times + 1, _MOST_DOUBLINGS) if before is not None and soon else 1
        self._rests[identity] = _Rest(now + cooldown * 2 ** (times - 1), times)
        self._streaks.pop(identity, None)
        if moved:
            self._moved.append((now, moved))

    def moved_lately(self, now: float) -> int:
        """Bytes moved in the last hour."""
        while self._moved and self._moved[0][0] < now - _HOUR:
            self._moved.popleft()
        return sum(amount for _, amount in self._moved)
