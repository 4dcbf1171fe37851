"""Work that may hang, in threads that can be given up.

A process can make whoever reads its memory map wait without end: a page of a file of its own filesystem (FUSE) is
faulted in under mmap_lock, and the filesystem does not answer. The waiting thread does not see signals; a process with
such a thread can still end.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from backend.errors import os_error

if TYPE_CHECKING:
    from queue import SimpleQueue

T = TypeVar("T")
_Inbox: Any = getattr(queue, "SimpleQueue", queue.Queue)  # Python 3.6, in the agent
_MOST = 256
"""Threads that hang at a time, at most."""
_TRUST = 1.0
"""Seconds."""
_MOST_KNOWN = 4096


class DisposableThread(threading.Thread):
    """A thread that nobody waits for without a limit: what it does may hang."""

    def __init__(self, target: Callable[[], object]) -> None:
        super().__init__(target=target, daemon=True)


class Patience:
    """Calls functions in other threads, for at most `seconds` each. Who hung once is not asked again until it has
    answered; who has answered is asked without another thread for a second, as two switches of threads take longer than
    most answers, but not in the main thread, which signals need. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Call]] = []
        self._hanging: set[object] = set()
        self._answered: dict[object, float] = {}

    def call(self, who: object, function: Callable[[], T]) -> T:
        """Returns what the function returns, or raises what it raises; OSError (ETIMEDOUT) if that takes too long. In a
        thread that may hang, it is called there."""
        began = time.monotonic()
        here = threading.current_thread()
        trusted = here is not threading.main_thread() and began - self._answered.get(who, -_TRUST) < _TRUST
        if trusted or isinstance(here, DisposableThread):
            return function()
        with self._lock:
            if who in self._hanging or len(self._hanging) >= _MOST:
                raise os_error(errno.ETIMEDOUT)
            inbox = self._idle.pop() if self._idle else self._started()
        call = _Call(function)
        inbox.put(call)
        answered = False
        try:
            answered = call.done.acquire(timeout=self.seconds)
        finally:
            with self._lock:
                # The thread of a call that is given up comes back by itself, once it has an answer.
                call.given_up = None if answered or not call.done.locked() else who
                if call.given_up is None:
                    self._idle.append(inbox)
                else:
                    self._hanging.add(who)
        if not answered:
            raise os_error(errno.ETIMEDOUT)
        if len(self._answered) >= _MOST_KNOWN:
            self._answered.clear()
        self._answered[who] = began
        if call.error is not None:
            raise call.error
        return call.result

    def _started(self) -> SimpleQueue[_Call]:
        inbox: SimpleQueue[_Call] = _Inbox()
        DisposableThread(lambda: self._serve(inbox)).start()
        return inbox

    def _serve(self, inbox: SimpleQueue[_Call]) -> None:
        while True:
            call = inbox.get()
            try:
                call.result = call.function()
            except BaseException as exc:
                call.error = exc
            with self._lock:
                call.done.release()
                if call.given_up is not None:
                    self._hanging.discard(call.given_up)
                    self._idle.append(inbox)


class _Call:
    """`done`: locked until there is an answer. `given_up`: who was not waited for any longer."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.given_up: object | None = None
        self.done = threading.Lock()
        self.done.acquire()
