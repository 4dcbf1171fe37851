"""Threads that take work from one queue. Their number follows the allowed CPUs and the measured throughput."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.nodeset import CpuSet
from backend.process.process import parse_status

T = TypeVar("T")
MOST = 16
"""Threads at most. Each makes one system call at a time, and each call drains the LRU caches of all CPUs
(lru_cache_disable() in do_pages_move())."""
_EPOCH = 10_000_000
"""Nanoseconds: the shortest trial of a number of workers."""
_EACH = 3
"""Pieces of work that each worker does in a trial, at least."""
_GAIN = 1.1
"""Factor by which one more worker must raise the throughput."""


def allowed_cpus(kernel: Kernel) -> int:
    """The number of CPUs that this process may run on; 1 if unknown."""
    try:
        return max(1, len(CpuSet.parse_list(parse_status(kernel.read("/proc/self/status"))["Cpus_allowed_list"])))
    except (OSError, KeyError, NumatuiError):
        return 1


class ConcurrencyTuner:
    """Adds workers while throughput grows."""

    def __init__(self, most: int) -> None:
        self.workers, self.most = 1, most
        self._last = 0.0
        self._settled = most <= 1
        self._begin(-1)

    def _begin(self, now: int) -> None:
        self._began, self._pieces, self._bytes = now, 0, 0

    def done(self, amount: int, now: int) -> None:
        """Records a finished piece of so many bytes, at `now` ns."""
        if self._settled:
            return
        if self._began < 0:
            self._begin(now)
            return
        self._pieces += 1
        self._bytes += amount
        took = now - self._began
        if took < _EPOCH or self._pieces < _EACH * self.workers:
            return
        rate = self._bytes / took
        if rate < self._last * _GAIN:
            self.workers -= 1
            self._settled = True
        elif self.workers == self.most:
            self._settled = True
        else:
            self.workers += 1
        self._last = rate
        self._begin(-1)


class WorkerPool(Generic[T]):
    """`work`: does one piece and returns its bytes. `workers`: a fixed number of threads; 0: no thread, submit() does
    the work; None: workers are added while throughput grows, up to `most`. A worker's exception is re-raised by the
    next submit() or join(), one at a time; queued work is dropped."""

    def __init__(self, work: Callable[[T], int], workers: int | None, most: int, clock: Callable[[], int]) -> None:
        self._work, self._clock = work, clock
        self._gain = ConcurrencyTuner(min(most, MOST)) if workers is None else None
        self._fixed = workers or 0
        self._changed = threading.Condition()
        self._queue: deque[T] = deque()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False
        self._errors: deque[BaseException] = deque()

    @property
    def workers(self) -> int:
        """Number of threads that work at the moment."""
        return self._gain.workers if self._gain else max(1, self._fixed)

    def submit(self, piece: T) -> None:
        """Queues a piece. Blocks while the queue is full; re-raises a worker's exception."""
        if not self._gain and not self._fixed:
            self._work(piece)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._errors or len(self._queue) <= self.workers)
            self._raise()
            self._start()
            if self._threads:
                self._queue.append(piece)
                self._changed.notify_all()
                return
        self._work(piece)

    def _start(self) -> None:
        """Starts threads up to the number wanted, or as many as the system allows."""
        with suppress(RuntimeError):
            while len(self._threads) < self.workers:
                thread = threading.Thread(
                    target=self._run, args=(len(self._threads),), name="numatui-mover", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def join(self) -> None:
        """Waits until all submitted work is done. Re-raises a worker's exception, one per call."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._busy)
            self._raise()

    def close(self) -> None:
        """Ends the threads after their current piece."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _raise(self) -> None:
        if self._errors:
            raise self._errors.popleft()

    def _run(self, index: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._queue and index < self.workers))
                if self._closed:
                    return
                piece = self._queue.popleft()
                self._busy += 1
                self._changed.notify_all()
            amount, error = 0, None
            try:
                amount = self._work(piece)
            except BaseException as exc:
                error = exc
            with self._changed:
                self._busy -= 1
                if error is not None:
                    self._errors.append(error)
                    self._queue.clear()
                elif self._gain:
                    self._gain.done(amount, self._clock())
                self._changed.notify_all()
