"""The journal of a job: private, written ahead and synced, so that an interrupted job can be undone.

Each job has one file: a head; for each chunk a record before its pages move and one after it; an end. The file is
locked while its job runs. A journal that is not locked and has no end belongs to an interrupted job."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import os_error
from backend.files.free_space import LEAST, free_space
from backend.files.jobs_dir import cannot_write, make_private, sync_directory
from backend.journal.journal_file import MAGIC, append, fact, frame
from backend.journal.journal_folder import SUFFIX, Turn
from backend.journal.page_runs import encode_marks, encode_pages
from backend.placement.pagemap import Addresses
from backend.plan.remap import Move

CHUNK = struct.Struct("<IHHQB")
"""Number of the part, source, target, bytes of a page, 1 where shared pages move as well; then the pages."""
RESULT = struct.Struct("<IQ")
"""Number of the chunk, from 0, and the bytes that moved; then which of its pages did not."""


class Journal:
    """The file of one job, which gets the next number. Opening it writes and syncs the head; if that fails, nothing has
    moved yet. Thread-safe."""

    def __init__(self, directory: Path, head: dict[str, Any]) -> None:
        """Raises NumatuiError: directory not private, disk full, not writable."""
        make_private(directory)
        self._lock = threading.Lock()
        self._sizes: list[tuple[int, int]] = []
        """Pages of each chunk, and bytes of a page."""
        self._counted = False
        with Turn(directory) as number:
            self.job = str(number)
            self.path = directory / f"{self.job}{SUFFIX}"
            try:
                if free_space(directory) < LEAST:
                    raise os_error(errno.ENOSPC)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
            except OSError as exc:
                raise cannot_write(directory, exc) from None
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                append(self._fd, MAGIC + fact({"at": time.time(), **head}))
                sync_directory(directory)
            except BaseException as exc:
                os.close(self._fd)
                with suppress(OSError):
                    self.path.unlink(missing_ok=True)
                if isinstance(exc, OSError):
                    raise cannot_write(directory, exc) from None
                raise

    def before(self, part: int, move: Move, page_size: int, pages: Addresses, shared: bool = False) -> int:
        """Records the pages that are about to move, ascending; `shared`: also those that other processes map. It is on
        disk when this returns. Returns the number of the chunk. Raises NumatuiError."""
        record = CHUNK.pack(part, move.source, move.target, page_size, shared) + encode_pages(pages, page_size)
        with self._lock:
            self._append(frame(b"C", record))
            self._sizes.append((len(pages), page_size))
            return len(self._sizes) - 1

    def after(self, chunk: int, left: NDArray[np.bool_]) -> None:
        """Records which pages of the chunk did not move. Not synced: the sync of the next chunk includes it. Raises
        NumatuiError."""
        pages, page_size = self._sizes[chunk]
        stayed = int(np.count_nonzero(left))
        record = RESULT.pack(chunk, (pages - stayed) * page_size) + (encode_marks(left) if stayed else b"")
        with self._lock:
            self._append(frame(b"R", record), sync=False)

    def note(self, **facts: Any) -> None:
        """Records something else, before or after it is done. Raises NumatuiError."""
        self._counted = self._counted or "counted" in facts
        with self._lock:
            self._append(fact(facts))

    def end(self, how: str, **facts: Any) -> None:
        """`done`, `partly`, `cancelled`, `failed`. Only the first call counts. Raises NumatuiError."""
        if self._fd < 0:
            return
        try:
            self.note(end=how, at=time.time(), **facts, **({"counted": True} if self._counted else {}))
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    discarded = False
    """Nothing has happened, and the file is gone."""

    def discard(self) -> None:
        """Removes the journal of a job in which nothing has happened."""
        self.discarded = True
        self._close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _append(self, data: bytes, sync: bool = True) -> None:
        try:
            append(self._fd, data, sync)
        except OSError as exc:
            raise cannot_write(self.path.parent, exc) from None
