"""Threads that take work off one queue. How many of them work follows the CPUs allowed and the gain that is seen."""

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
"""Threads at most: a kernel call each, and each drains the caches of all CPUs."""
_EPOCH = 40_000_000
"""Nanoseconds that a number of workers is tried for at least."""
_EACH = 3
"""Pieces of work that each worker does before its number is judged."""
_GAIN = 1.1
"""One more worker has to bring at least this."""


def allowed_cpus(kernel: Kernel) -> int:
    """The number of CPUs that this process may run on; 1 where the kernel does not tell."""
    try:
        return max(1, len(CpuSet.parse_list(parse_status(kernel.read("/proc/self/status"))["Cpus_allowed_list"])))
    except (OSError, KeyError, NumatuiError):
        return 1


class ConcurrencyTuner:
    """Finds the number of workers from which on one more brings nothing."""

    def __init__(self, most: int) -> None:
        self.workers, self.most = 1, most
        self._last = 0.0
        self._settled = most <= 1
        self._begin(-1)

    def _begin(self, now: int) -> None:
        self._began, self._pieces, self._bytes = now, 0, 0

    def done(self, amount: int, now: int) -> None:
        """A piece of work of so many bytes was done."""
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
    """`work`: does one piece and returns its bytes. `workers`: a fixed number of threads; 0: no thread, all is done
    where it is given; None: as many as bring something, up to `most`. What workers raise is raised where work is given
    and drained, one at a time; what was still waiting is then not done any more."""

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
        """How many threads work at the moment."""
        return self._gain.workers if self._gain else max(1, self._fixed)

    def submit(self, piece: T) -> None:
        """Do this piece soon. Waits while there is enough to do; raises what a worker has raised."""
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
        """As many threads as are wanted, or as there may be."""
        with suppress(RuntimeError):
            while len(self._threads) < self.workers:
                thread = threading.Thread(
                    target=self._run, args=(len(self._threads),), name="numatui-mover", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def join(self) -> None:
        """Wait until all that was given is done; raises what a worker has raised, again for each that has."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._busy)
            self._raise()

    def close(self) -> None:
        """End the threads once they have done what they are at."""
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
