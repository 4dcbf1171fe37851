"""Asks the hosts of a fleet again and again, in threads: each some time after its last answer, so that one that hangs
keeps no other one from being asked."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from textual.message import Message

from backend.errors import NumatuiError
from backend.fleet.carry_out import host_of
from backend.fleet.reach import Answer, ask_all
from backend.fleet.view import HostMemory, HostView, memory, view
from backend.kernel import Kernel

MEMORY_AGE = 30.0
"""Seconds after which the processes of a host that is seen are looked at again."""
_TICK = 0.25
"""Seconds between two looks at whose turn it is."""
_LATE = 10.0
"""Seconds after which a host that has not answered takes nobody's place any longer."""
_OTHERS = 16
"""Hosts that are not seen whose processes are looked at, of all that are asked at a time: those that wait longest."""
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


class FleetReader:
    """`post`: takes its messages. `interval`: seconds from an answer to the next question, 0: only when it is asked
    for. `paused`: nobody is asked. `seen`: hosts on the screen; of these, and of a few others, the processes are looked
    at."""

    def __init__(self, fleet: Fleet, post: Callable[[Message], object], interval: float) -> None:
        self.fleet, self._post, self.interval = fleet, post, interval
        self.paused = False
        self.seen: frozenset[str] = frozenset()
        self._answered = dict.fromkeys(fleet.hosts, 0.0)
        """When each has answered, 0: it is to be asked now. Those that are asked are in `_asked` instead, with since
        when."""
        self._asked: dict[str, float] = {}
        self._looked_at: dict[str, float] = {}
        self._again: set[str] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()

    def start(self, looked_at: Mapping[str, float]) -> None:
        """`looked_at`: when the processes of hosts were looked at last (seconds of a monotonic clock)."""
        self._looked_at = dict(looked_at)
        threading.Thread(target=self._run, name="numatui-fleet-reader", daemon=True).start()

    def ask(self, hosts: Collection[str] = ()) -> None:
        """All are asked now, and the processes of those that are seen, and of `hosts`, looked at. What they are asked
        already at this moment may be of before: they are asked once more."""
        with self._lock:
            self._answered = dict.fromkeys(self._answered, 0.0)
            self._again = set(self._asked)
            for host in (*self.seen, *hosts):
                self._looked_at.pop(host, None)

    def end(self) -> None:
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(_TICK):
            some, wanted = self._whose_turn(time.monotonic())
            if some:
                threading.Thread(target=self._ask, args=(some, wanted), name="numatui-fleet-ask", daemon=True).start()

    def _whose_turn(self, now: float) -> tuple[list[str], frozenset[str]]:
        """The hosts to ask, those first that have waited longest, and of which of them the processes."""
        with self._lock:
            places = self.fleet.fanout - sum(1 for began in self._asked.values() if now - began < _LATE)
            due = ((at, number, host) for number, (host, at) in enumerate(self._answered.items()) if self._due(at, now))
            hosts = [host for _, _, host in heapq.nsmallest(max(0, places), due)]
            for host in hosts:
                del self._answered[host]
                self._asked[host] = now
            wanted = {host for host in hosts if host in self.seen and now - self._age(host) >= MEMORY_AGE}
            others = heapq.nsmallest(_OTHERS, (host for host in hosts if host not in self.seen), key=self._age)
            wanted |= set(others)
            # Also one that does not answer has had its turn.
            self._looked_at.update(dict.fromkeys(wanted, now))
            return hosts, frozenset(wanted)

    def _due(self, answered: float, now: float) -> bool:
        return not answered or (bool(self.interval) and not self.paused and now - answered >= self.interval)

    def _age(self, host: str) -> float:
        return self._looked_at.get(host, -MEMORY_AGE)

    def _ask(self, hosts: list[str], wanted: frozenset[str]) -> None:
        def ask(kernel: Kernel) -> Look:
            return view(kernel), memory(kernel) if host_of(kernel) in wanted else None

        fleet = self.fleet
        try:
            answers = ask_all(hosts, ask, fleet.sudo, len(hosts), fleet.timeout, self._heard, self._end)
        except NumatuiError as exc:  # there are no more threads
            answers = [Answer[Look](host, error=exc) for host in hosts]
        for one in answers:
            if one.host in self._asked:
                self._heard(one)

    def _heard(self, one: Answer[Look]) -> None:
        now = time.monotonic()
        with self._lock:
            self._asked.pop(one.host, None)
            old = one.host in self._again
            self._again.discard(one.host)
            self._answered[one.host] = 0.0 if old else now
            if old:
                self._looked_at.pop(one.host, None)
        if not self._end.is_set():
            self._post(HostRead(one, now))
