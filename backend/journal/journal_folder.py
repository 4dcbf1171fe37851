"""The folder of journals: their numbers, and which job is running."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from backend.files.jobs_dir import cannot_write

SUFFIX = ".job"
_DIGITS = 9
"""Of the number of a job, at most."""


def is_locked(fd: int) -> bool:
    """Whether the job of this journal is running."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        # EACCES: NFS emulates flock(2) by fcntl(2) locks.
        return exc.errno in (errno.EWOULDBLOCK, errno.EACCES)
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def numbered(directory: Path) -> list[tuple[int, Path]]:
    """The journals of a folder with their numbers, the newest first. The number tells the order, whatever the clock
    did. Empty if the folder cannot be read."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [(name.removesuffix(SUFFIX), name) for name in names if name.endswith(SUFFIX)]
    return sorted(
        (
            (int(stem), directory / name)
            for stem, name in found
            if stem.isascii() and stem.isdecimal() and len(stem) < 16
        ),
        reverse=True,
    )


class Turn:
    """Lock held while a job begins; gives it its number, which was nobody's before: the last one is kept in the file of
    the lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> int:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self.directory / ".lock", flags, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                kept = os.pread(self._fd, 20, 0)
                last = int(kept) if kept.isdigit() and len(kept) <= _DIGITS else 0
                number = max([last, *(number for number, _ in numbered(self.directory)[:1])]) + 1
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, b"%d" % number, 0)
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as exc:
            raise cannot_write(self.directory, exc) from None
        return number

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
