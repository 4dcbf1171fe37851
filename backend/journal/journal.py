"""The journal of a job: private, written ahead and synced, so that an interrupted job can be undone.

Each job has one file: a head; for each chunk a record before its pages move and one after it; an end. The file is
locked while its job runs. A journal that is not locked and has no end belongs to an interrupted job."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.journal.journal_file import MAGIC, SUFFIX, fact, frame
from backend.journal.page_runs import encode_marks, encode_pages
from backend.placement.pagemap import Addresses
from backend.plan.remap import Move
from backend.state.jobs_dir import cannot_write
from backend.state.local import LOCAL
from backend.state_files import StateFiles

CHUNK = struct.Struct("<IHHQB")
"""Number of the part, source, target, bytes of a page, 1 where shared pages move as well; then the pages."""
RESULT = struct.Struct("<IQ")
"""Number of the chunk, from 0, and the bytes that moved; then which of its pages did not."""


class Journal:
    """The file of one job, which gets the next number. Opening it writes and syncs the head; if that fails, nothing has
    moved yet. Thread-safe."""

    def __init__(self, directory: Path, head: dict[str, Any], files: StateFiles = LOCAL) -> None:
        """Raises NumatuiError: directory not private, disk full, not writable."""
        self._files = files
        self._lock = threading.Lock()
        self._sizes: list[tuple[int, int]] = []
        """Pages of each chunk, and bytes of a page."""
        self._counted = False
        self.job, self._fd = files.begin(directory, SUFFIX, MAGIC + fact({"at": time.time(), **head}))
        self.path = directory / f"{self.job}{SUFFIX}"

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
        self._files.close(self._fd)
        self._fd = -1

    discarded = False
    """Nothing has happened, and the file is gone."""

    def discard(self) -> None:
        """Removes the journal of a job in which nothing has happened."""
        self.discarded = True
        self._close()
        with suppress(OSError):
            self._files.unlink(self.path)

    def _append(self, data: bytes, sync: bool = True) -> None:
        try:
            self._files.append(self._fd, data, sync)
        except OSError as exc:
            raise cannot_write(self.path.parent, exc) from None
