"""The numbers of jobs in their folder, and which job is running. Runs on Python 3.6 too, in the agent."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

from backend.state.jobs_dir import cannot_write

_DIGITS = 9
"""Of the number of a job, at most."""
_NUMBER = re.compile(r"[0-9]{1,15}\Z")


def is_locked(fd: int) -> bool:
    """Whether the job of this journal is running."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        # EACCES: NFS emulates flock(2) by fcntl(2) locks.
        return exc.errno in (errno.EWOULDBLOCK, errno.EACCES)
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def numbers(names: Iterable[str], suffix: str) -> list[int]:
    """The numbers among the names of files with a suffix, the highest first. The number tells the order, whatever the
    clock did."""
    stems = [name[: -len(suffix)] for name in names if name.endswith(suffix)]
    return sorted((int(one) for one in stems if _NUMBER.match(one)), reverse=True)


class Turn:
    """Lock held while a job begins; gives it its number, which was nobody's before: the last one is kept in the file of
    the lock."""

    def __init__(self, directory: Path, suffix: str) -> None:
        self.directory = directory
        self._suffix = suffix

    def __enter__(self) -> int:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(str(self.directory / ".lock"), flags, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                kept = os.pread(self._fd, 20, 0)
                last = int(kept) if kept.isdigit() and len(kept) <= _DIGITS else 0
                number = max([last, *numbers(os.listdir(str(self.directory)), self._suffix)[:1]]) + 1
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
