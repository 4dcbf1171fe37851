"""The journal of a migration: private, written ahead and synced, so that an interrupted job can be undone.

Each job has one file of JSON lines: a header; for each chunk, a line before its pages move (which pages are where now,
as runs of addresses) and a line after it; an end. The file is locked while its job runs. A journal that is not locked
and has no end belongs to an interrupted job."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.errors import NumatuiError, os_error
from backend.files.free_space import LEAST, free_space
from backend.files.jobs_dir import cannot_write, make_private, sync_directory
from backend.plan.remap import Move

Runs = list[tuple[int, int]]
"""(first address, number of pages): consecutive pages of one size."""
VERSION = 2
KEEP = 500
"""Journals of ended jobs that are kept: the newest."""


class Journal:
    """The file of one job. Opening it writes and syncs the header; if that fails, nothing has moved yet.
    Thread-safe."""

    def __init__(self, directory: Path, head: dict[str, Any]) -> None:
        """Raises NumatuiError: directory not private, disk full, not writable, or another job is moving the process."""
        make_private(directory)
        if free_space(directory) < LEAST:
            raise cannot_write(directory, os_error(errno.ENOSPC))
        self.job = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{head.get('pid', 0)}-{secrets.token_hex(3)}"
        self.path = directory / f"{self.job}.jsonl"
        self._lock = threading.Lock()
        self._chunks = 0
        with _Turn(directory):
            _refuse_second(directory, head)
            try:
                self._fd = os.open(
                    self.path,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                )
            except OSError as exc:
                raise cannot_write(directory, exc) from None
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                self._append({"numatui-journal": VERSION, "job": self.job, "at": time.time(), **head})
                sync_directory(directory)
            except BaseException as exc:
                os.close(self._fd)
                with suppress(OSError):
                    self.path.unlink(missing_ok=True)
                if isinstance(exc, OSError):
                    raise cannot_write(directory, exc) from None
                raise

    def before(self, move: Move, page_size: int, runs: Runs, shared: bool = False) -> int:
        """Records the pages that are about to move; `shared`: also those that other processes map. The line is on disk
        when this returns. Returns the number of the chunk."""
        with self._lock:
            self._chunks += 1
            number = self._chunks
            self._append(
                {
                    "chunk": number,
                    "from": move.source,
                    "to": move.target,
                    "page_size": page_size,
                    **({"shared": True} if shared else {}),
                    "runs": runs,
                }
            )
        return number

    def after(self, chunk: int, moved: int, left: Runs | None = None) -> None:
        """Records how many pages of the chunk moved, and which did not. Not synced: the sync of the next chunk includes
        it."""
        with self._lock:
            self._append({"after": chunk, "moved": moved, **({"left": left} if left else {})}, sync=False)

    def end(self, how: str, **facts: Any) -> None:
        """`done`, `partly`, `cancelled`, `failed`."""
        try:
            with self._lock:
                self._append({"end": how, "at": time.time(), **facts})
        finally:
            os.close(self._fd)

    def _append(self, record: dict[str, Any], sync: bool = True) -> None:
        """A line that could not be written whole is truncated again: the lines after it could not be read."""
        end = os.fstat(self._fd).st_size
        try:
            append_line(self._fd, record, sync)
        except OSError as exc:
            with suppress(OSError):
                os.ftruncate(self._fd, end)
            raise cannot_write(self.path.parent, exc) from None


def append_line(fd: int, record: dict[str, Any], sync: bool = True) -> None:
    """Writes one whole record; it is on disk when this returns if `sync`. Raises OSError."""
    line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
    while line:
        line = line[os.write(fd, line) :]
    if sync:
        os.fdatasync(fd)


def is_locked(fd: int) -> bool:
    """Whether the job of this journal is running."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        # EACCES: NFS emulates flock(2) by fcntl(2) locks.
        return exc.errno in (errno.EWOULDBLOCK, errno.EACCES)
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class _Turn:
    """Lock held while a job begins, so that two jobs that begin at once see each other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self.directory / ".lock", flags, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as exc:
            raise cannot_write(self.directory, exc) from None

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _refuse_second(directory: Path, head: dict[str, Any]) -> None:
    """Raises NumatuiError if another job is moving the same process."""
    pid = str(head.get("pid", 0))
    for path in directory.glob(f"*-{pid}-*.jsonl"):
        # The time in the name may match the pattern too.
        if path.stem.split("-")[-2] != pid:
            continue
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if is_locked(fd):
                    raise NumatuiError(
                        f"process {pid} is being moved already, by job {path.stem}",
                        "wait until that has ended, or stop it: numatui jobs",
                    )
            finally:
                os.close(fd)
