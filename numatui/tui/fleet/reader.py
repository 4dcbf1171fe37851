"""Asks the hosts of a fleet, round after round, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from textual.message import Message

from backend.fleet.carry_out import host_of
from backend.fleet.reach import Answer, ask_all
from backend.fleet.view import HostMemory, HostView, memory, view
from backend.kernel import Kernel

MEMORY_AGE = 30.0
"""Seconds after which the processes of a host that is seen are looked at again."""
_TICK = 0.25
"""Seconds between two looks at the clock."""
_OTHERS = 16
"""Hosts that are not seen, whose processes are looked at in one round: those that wait longest."""
Look = tuple[HostView, HostMemory | None]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts of `numatui fleet`. `name`: as they were written. `timeout`: seconds that each has."""

    name: str
    hosts: Sequence[str]
    sudo: bool
    fanout: int
    timeout: float


@dataclass
class HostRead(Message):
    """One host has answered, or failed. `at`: seconds of a monotonic clock."""

    answer: Answer[Look]
    at: float


class RoundEnded(Message):
    """All hosts were asked."""


class FleetReader:
    """`post`: takes its messages. `interval`: seconds between two rounds, 0: only when it is asked for. `paused`: no
    round begins by itself. `seen`: hosts on the screen; of these, and of a few others, the processes are looked at."""

    def __init__(self, fleet: Fleet, post: Callable[[Message], object], interval: float) -> None:
        self.fleet, self._post, self.interval = fleet, post, interval
        self.paused = False
        self.seen: frozenset[str] = frozenset()
        self._looked_at: dict[str, float] = {}
        self._wake, self._end = threading.Event(), threading.Event()

    def start(self, looked_at: Mapping[str, float]) -> None:
        """`looked_at`: when the processes of hosts were looked at last (seconds of a monotonic clock)."""
        self._looked_at = dict(looked_at)
        threading.Thread(target=self._run, name="numatui-fleet-reader", daemon=True).start()

    def ask(self, anew: bool = False) -> None:
        """The next round begins now. `anew`: with all processes of the hosts that are seen."""
        if anew:
            for host in self.seen:
                self._looked_at.pop(host, None)
        self._wake.set()

    def end(self) -> None:
        self._end.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._end.is_set():
            self._wake.clear()
            wanted = self._wanted()

            def ask(kernel: Kernel, wanted: frozenset[str] = wanted) -> Look:
                return view(kernel), memory(kernel) if host_of(kernel) in wanted else None

            fleet = self.fleet
            ask_all(fleet.hosts, ask, fleet.sudo, fleet.fanout, fleet.timeout, self._heard, self._end)
            self._post(RoundEnded())
            ended = time.monotonic()
            while not self._wake.wait(_TICK) and not self._due(ended):
                pass

    def _due(self, ended: float) -> bool:
        return bool(self.interval) and not self.paused and time.monotonic() - ended >= self.interval

    def _wanted(self) -> frozenset[str]:
        now = time.monotonic()
        due = {host for host in self.seen if now - self._looked_at.get(host, -MEMORY_AGE) >= MEMORY_AGE}
        others = sorted((host for host in self.fleet.hosts if host not in self.seen), key=self._age)
        return frozenset(due | set(others[:_OTHERS]))

    def _age(self, host: str) -> float:
        return self._looked_at.get(host, 0.0)

    def _heard(self, one: Answer[Look]) -> None:
        now = time.monotonic()
        if one.value is not None and one.value[1] is not None:
            self._looked_at[one.host] = now
        if not self._end.is_set():
            self._post(HostRead(one, now))
