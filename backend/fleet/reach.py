"""Asks many hosts the same, a few at a time: each over a connection of its own, with a deadline.

A host that cannot be reached, hangs or answers nonsense costs one place for its time, and nobody else anything."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from backend.errors import Interrupted, NumatuiError, describe_oserror
from backend.files.text import printable
from backend.remote.kernel import RemoteKernel
from backend.remote.ssh import Destination, Link

T = TypeVar("T")
FANOUT = 64
"""Hosts that are asked at a time."""
TIMEOUT = 60.0
"""Seconds that a host has."""
_TICK = 0.2
"""Seconds between two looks at who is late."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a host said: `value`, or `error`. `seconds`: from the start of its ssh on. `sent`, `received`: bytes."""

    host: str
    value: T | None = None
    error: NumatuiError | None = None
    seconds: float = 0.0
    sent: int = 0
    received: int = 0


def ask_all(
    hosts: Sequence[str],
    ask: Callable[[RemoteKernel], T],
    sudo: bool = False,
    fanout: int = FANOUT,
    timeout: float = TIMEOUT,
    told: Callable[[Answer[T]], None] = lambda _: None,
    cancel: threading.Event | None = None,
    grace: float = 0.0,
) -> list[Answer[T]]:
    """The answers in the order of the hosts. `told`: hears of each as it comes, in this thread. `grace`: seconds after
    `cancel` in which hosts may still answer; those that are missing then have an error that says so. Never raises for
    what a host does; NumatuiError if not one can be asked."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for host in hosts:
        waiting.put(host)
    asking = _Asking(ask, sudo, waiting)
    for number in range(min(fanout, len(hosts))):
        try:
            threading.Thread(target=asking.work, name="numatui-fleet", daemon=True).start()
        except RuntimeError:  # there are no more threads: those that there are do it
            if not number:
                raise NumatuiError("no thread can be started", "try again with a smaller --fanout") from None
            break
    answers: dict[str, Answer[T]] = {}
    looked = time.monotonic()
    cancelled = 0.0
    while len(answers) < len(hosts):
        with suppress(queue.Empty):
            one = asking.answers.get(timeout=_TICK)
            answers[one.host] = one
            told(one)
        if time.monotonic() - looked >= _TICK:
            looked = time.monotonic()
            asking.end_late(timeout)
        if cancel is not None and cancel.is_set():
            cancelled = cancelled or time.monotonic()
            if time.monotonic() - cancelled >= grace:
                asking.stop()
                break
    stopped = Interrupted("what it says was not waited for: interrupted", "")
    return [answers.get(host) or Answer(host, error=stopped) for host in hosts]


class _Asking(Generic[T]):
    def __init__(self, ask: Callable[[RemoteKernel], T], sudo: bool, waiting: queue.SimpleQueue[str]) -> None:
        self._ask, self._sudo, self._waiting = ask, sudo, waiting
        self.answers: queue.SimpleQueue[Answer[T]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Link, float]] = {}
        self._stopped = False

    def work(self) -> None:
        while True:
            try:
                host = self._waiting.get_nowait()
            except queue.Empty:
                return
            if not self._stopped:
                self.answers.put(self._answer(host))

    def _answer(self, host: str) -> Answer[T]:
        began = time.monotonic()
        link: Link | None = None
        value: T | None = None
        error: NumatuiError | None = None
        try:
            link = Link(Destination(host, self._sudo, batch=True))
            with self._lock:
                self._running[host] = link, began
                stopped = self._stopped
            if stopped:  # while ssh was started
                link.connection.lose("interrupted")
            reference = f"{host} --sudo" if self._sudo else host
            value = self._ask(RemoteKernel(link.connection, reference))
            link.connection.check()
        except NumatuiError as exc:
            error = exc
        except OSError as exc:
            error = NumatuiError(describe_oserror(exc))
        except Exception as exc:  # whatever a host has made of it, it is that host's
            error = NumatuiError(f"what it answers makes no sense ({printable(str(exc), 100)})")
        sent = received = 0
        if link is not None:
            with self._lock:
                self._running.pop(host, None)
            sent, received = link.connection.sent, link.connection.received
            link.close()
        return Answer(host, value, error, time.monotonic() - began, sent, received)

    def end_late(self, timeout: float) -> None:
        """Those who have had their time lose their connection, and with it the call that they are in."""
        now = time.monotonic()
        with self._lock:
            late = [link for link, began in self._running.values() if now - began > timeout]
        for link in late:
            link.connection.lose(f"it has not answered all within {timeout:g} seconds")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            links = [link for link, _ in self._running.values()]
        for link in links:
            link.connection.lose("interrupted")
