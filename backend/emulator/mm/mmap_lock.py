"""mmap_sem: faults take it for reading, changes of the address space for writing. Waiters are served in FIFO order."""

from __future__ import annotations

from collections import deque

import simpy

from backend.emulator.frames.page_lock import Events


class MmapLock:
    """A reader-writer semaphore (struct rw_semaphore). Readers queue behind a waiting writer."""

    def __init__(self) -> None:
        self.readers = 0
        self.writing = False
        self._queue: deque[tuple[bool, simpy.Event]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def down_read(self, env: simpy.Environment) -> Events:
        if self.writing or self._queue:
            turn = env.event()
            self._queue.append((False, turn))
            yield turn
        else:
            self.readers += 1

    def down_write(self, env: simpy.Environment) -> Events:
        if self.writing or self.readers or self._queue:
            turn = env.event()
            self._queue.append((True, turn))
            yield turn
        else:
            self.writing = True

    def up_read(self) -> None:
        self.readers -= 1
        self._next()

    def up_write(self) -> None:
        self.writing = False
        self._next()

    def _next(self) -> None:
        while self._queue and not self.writing:
            write, turn = self._queue[0]
            if write and self.readers:
                return
            self._queue.popleft()
            if write:
                self.writing = True
            else:
                self.readers += 1
            turn.succeed()
