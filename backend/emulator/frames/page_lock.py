"""Page locks and temporary page references (mm/filemap.c lock_page(), include/linux/mm.h get_page())."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.frames import MemMap, frames_of, head_of
from backend.emulator.frames.page import PG, Pfns

Events = Generator[simpy.Event, Any, Any]
"""A kernel path: a generator that yields wherever the kernel could sleep or be preempted."""


class PageLocks:
    """`wake_latency`: called for each wake-up, returns the seconds until the sleeper runs."""

    def __init__(self, env: simpy.Environment, frames: MemMap, wake_latency: Callable[[], float]) -> None:
        self._env = env
        self._frames = frames
        self._wake_latency = wake_latency
        self._sleepers: dict[int, dict[int, list[tuple[simpy.Event, simpy.Process | None]]]] = {
            PG.LOCKED: {},
            PG.WRITEBACK: {},
            PG.BUFFER_LOCK: {},
        }
        self.holders: Counter[int] = Counter()
        self._whole: dict[int, list[list[int]]] = {}

    def trylock(self, pfns: Pfns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Lock the unlocked pages of a batch (TestSetPageLocked()). True for each page that this call locked."""
        got = (self._frames.flags[span(pfns)] & PG.LOCKED) == 0
        self._frames.flags[span(pick(pfns, got))] |= PG.LOCKED
        return got

    def lock(self, pfn: int) -> Events:
        """Sleep until the page is unlocked, then lock it. The caller must hold a reference."""
        yield from self._sleep(pfn, PG.LOCKED)
        self._frames.flags[pfn] |= PG.LOCKED

    def wait(self, pfn: int) -> Events:
        """Sleep until the page is unlocked, without locking it (wait_on_page_locked())."""
        yield from self._sleep(pfn, PG.LOCKED)

    def unlock(self, pfns: Pfns) -> None:
        """Unlock a batch of pages and wake all sleepers on them."""
        self._wake(pfns, PG.LOCKED)

    def wait_on_writeback(self, pfn: int) -> Events:
        """Sleep until the page is no longer under writeback."""
        yield from self._sleep(pfn, PG.WRITEBACK)

    def end_writeback(self, pfns: Pfns) -> None:
        """Clear PG_writeback of a batch and wake all sleepers on it (end_page_writeback())."""
        self._wake(pfns, PG.WRITEBACK)

    def wait_on_buffers(self, pfn: int) -> Events:
        """Sleep until no buffer of the page is locked by I/O (wait_on_buffer())."""
        yield from self._sleep(pfn, PG.BUFFER_LOCK)

    def unlock_buffers(self, pfns: Pfns) -> None:
        """Unlock the buffers of a batch and wake all sleepers on them (unlock_buffer()). Called at the end of I/O or
        after the buffers moved to another page."""
        self._wake(pfns, PG.BUFFER_LOCK)

    def _sleep(self, pfn: int, flag: int) -> Events:
        # Checked again after each wake-up: another task may have set the flag during the wake-up latency.
        while self._frames.flags[pfn] & flag:
            woken = self._env.event()
            self._sleepers[flag].setdefault(pfn, []).append((woken, self._env.active_process))
            yield woken
            yield self._env.timeout(self._wake_latency())

    def _wake(self, pfns: Pfns, flag: int) -> None:
        self._frames.flags[span(pfns)] &= ~np.uint32(flag)
        sleepers = self._sleepers[flag]
        if sleepers:
            for pfn in pfns.tolist():
                for woken, _ in sleepers.pop(pfn, ()):
                    woken.succeed()

    def sleepers(self, pfn: int) -> list[tuple[int, simpy.Process | None]]:
        """Sleepers on a page: (the flag each one waits for, its process)."""
        return [(flag, process) for flag, waiting in self._sleepers.items() for _, process in waiting.get(pfn, ())]

    @property
    def waiting(self) -> int:
        return sum(len(events) for waiting in self._sleepers.values() for events in waiting.values())

    def get_page(self, pfn: int) -> None:
        """Take a temporary reference (find_get_page(), get_user_pages(), I/O). On a hugetlb page it covers all its
        frames."""
        held = [pfn]
        if self._frames.flags[pfn] & PG.HUGETLB:
            held = frames_of(self._frames, head_of(self._frames, np.array([pfn], np.int32))).tolist()
            self._whole.setdefault(pfn, []).append(held)
        self._frames.refcount[held] += 1
        self.holders.update(held)

    def put_page(self, pfn: int) -> None:
        """Drop a temporary reference. The last reference frees the page."""
        held = [pfn]
        if pfn in self._whole:
            held = self._whole[pfn].pop()
            if not self._whole[pfn]:
                del self._whole[pfn]
        for one in held:
            self.transfer(one)
        self._frames.put(np.array(held, np.int32))

    @property
    def outstanding(self) -> int:
        """Temporary references that are still held. One on a hugetlb page counts once."""
        extra = sum(len(held) - 1 for stack in self._whole.values() for held in stack)
        return sum(self.holders.values()) - extra

    def transfer(self, pfn: int) -> None:
        """Hand a temporary reference over to another owner, for example a PTE. The refcount stays."""
        self.holders[pfn] -= 1
        if not self.holders[pfn]:
            del self.holders[pfn]
