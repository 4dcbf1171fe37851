"""Journals as jobs write them, for tests of what reads them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.journal.journal import Journal
from backend.journal.past_job import JournaledChunk, PastJob, read_job
from backend.placement.pagemap import Addresses
from backend.plan.remap import Move
from tests.backend.job.moving import chunks_of

PART: dict[str, Any] = {
    "pid": 4242, "start_time": 7, "program": [1, 2], "command": "oltp", "moves": [[0, 2], [1, 3]],
}  # fmt: skip
CPUSET: dict[str, Any] = {"path": "/db", "mems": [0, 1], "written": [], "wide": [0, 1, 2], "final": [2]}
HEAD: dict[str, Any] = {"boot": "b", "method": "move_pages", "parts": [PART]}
HUGE = 2 << 20


def begin(folder: Path, **other: Any) -> Journal:
    return Journal(folder, {**HEAD, **other})


def pages(start: int, count: int, page_size: int = 4096) -> Addresses:
    """Consecutive ones."""
    return np.arange(count, dtype=np.uint64) * np.uint64(page_size) + np.uint64(start)


def left(count: int, *which: int) -> NDArray[np.bool_]:
    """Those of so many pages that did not move."""
    return np.isin(np.arange(count), which)


def move_some(journal: Journal, count: int, *stayed: int) -> None:
    """One chunk of small pages, with its result."""
    journal.after(journal.before(0, Move(0, 2), 4096, pages(1 << 20, count)), left(count, *stayed))


def kill(journal: Journal) -> Journal:
    """Nothing is written any more, the lock is gone."""
    os.close(journal._fd)
    return journal


def interrupted(folder: Path, **other: Any) -> Journal:
    """A job that was killed after its first chunk."""
    journal = begin(folder, **other)
    move_some(journal, 5, 0)
    journal.before(0, Move(1, 3), HUGE, pages(1 << 30, 2, HUGE))
    return kill(journal)


def ended(folder: Path, moved: int = 0, **other: Any) -> Journal:
    """A job of which only the head and the end are written."""
    journal = begin(folder, **other)
    journal.end("done", moved=moved)
    return journal


def nearly_full(room: int) -> Callable[[int, bytes], int]:
    """`os.write` on a disk with so many bytes of room."""
    real, rooms = os.write, [room, 0]

    def write(fd: int, data: bytes) -> int:
        if not rooms[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: rooms.pop(0)])

    return write


def everything(path: Path) -> tuple[PastJob, list[JournaledChunk]]:
    """A job with all its pages."""
    job = read_job(path)
    return job, chunks_of(job)
