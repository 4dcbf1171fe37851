"""Threads that read many items in parallel. An item that hangs does not stop the others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from backend.patience import DisposableThread

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

PATIENCE = 2.0
"""Seconds after which an item counts as hanging: longer than any time budget for one item."""
_MOST = 8  # threads
_POLL = 0.02  # seconds between two looks for hanging threads


@dataclass
class _Batch(Generic[Item, Result]):
    """State that the threads of one run share. `running`: thread number → (item, start in seconds of the clock)."""

    items: Iterator[Item]
    work: Callable[[Item], Result]
    changed: threading.Condition = field(default_factory=threading.Condition)
    running: dict[int, tuple[Item, float]] = field(default_factory=dict[int, tuple[Item, float]])
    done: dict[Item, Result] = field(default_factory=dict[Item, Result])
    workers: int = 0
    started: int = 0
    failure: BaseException | None = None


class Readers(Generic[Item]):
    """`count` threads; 0: all work is done in the caller's thread. `patience`: seconds after which an item hangs.
    `hanging`: items of earlier runs that have not returned; they are skipped until they do. `clock`: in seconds."""

    def __init__(self, count: int, patience: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.count, self.clock = count, clock
        self.patience = PATIENCE if patience is None else patience
        self.hanging: set[Item] = set()

    def run(self, items: Sequence[Item], work: Callable[[Item], Result]) -> dict[Item, Result]:
        """Item → result, without items that hang. An exception of `work` is re-raised here."""
        if not self.count:
            return {item: work(item) for item in items}
        left = [item for item in items if item not in self.hanging]
        batch = _Batch(iter(left), work)
        with batch.changed:
            for _ in range(min(self.count, len(left))):
                self._start(batch)
            while batch.workers and batch.failure is None:
                batch.changed.wait(_POLL)
                self._give_up(batch)
            if batch.failure is not None:
                batch.items = iter(())
                raise batch.failure
            return batch.done

    def _start(self, batch: _Batch[Item, Result]) -> None:
        batch.workers += 1
        batch.started += 1
        number = batch.started
        DisposableThread(lambda: self._work(batch, number)).start()

    def _give_up(self, batch: _Batch[Item, Result]) -> None:
        """Replace threads whose item hangs."""
        now = self.clock() if batch.running else 0.0
        for number, (item, since) in [*batch.running.items()]:
            if now - since > self.patience:
                self.hanging.add(item)
                del batch.running[number]
                batch.workers -= 1
                self._start(batch)

    def _work(self, batch: _Batch[Item, Result], number: int) -> None:
        while True:
            with batch.changed:
                try:
                    item = next(batch.items)
                except StopIteration:
                    batch.workers -= 1
                    batch.changed.notify()
                    return
                batch.running[number] = (item, self.clock())
            failure: BaseException | None = None
            try:
                result = batch.work(item)
            except BaseException as exc:
                failure = exc
            with batch.changed:
                if batch.running.pop(number, None) is None:
                    self.hanging.discard(item)
                    return
                if failure is None:
                    batch.done[item] = result  # pyright: ignore[reportPossiblyUnboundVariable]
                else:
                    batch.failure = failure
                    batch.workers -= 1
                    batch.changed.notify()
                    return


def reader_count() -> int:
    """The best number of threads: the CPUs of our affinity mask. With two more, 300 processes took 1.3 times as long:
    they only pass the GIL around (benchmarks/reading.py)."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cpus = os.cpu_count() or 1
    return min(_MOST, cpus)
