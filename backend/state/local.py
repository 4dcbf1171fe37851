"""The state directory of this machine. Runs on Python 3.6 too: the agent serves the same to another machine."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import os_error
from backend.files.free_space import LEAST, free_space
from backend.state import jobs_dir as where
from backend.state import private_file
from backend.state.machine_lock import NameLock, ProcessLocks, own_lock_folder
from backend.state.numbering import Turn, is_locked

if TYPE_CHECKING:
    from backend.state_files import Held

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: never blocks, for example on a FIFO.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalState:
    """See `backend.state_files.StateFiles`. A descriptor is one of this process."""

    piece = 0

    def jobs_dir(self) -> Path:
        return where.jobs_dir()

    def lock_folder(self) -> Path | None:
        return own_lock_folder()

    def make_private(self, directory: Path) -> None:
        where.make_private(directory)

    def check_private(self, directory: Path) -> None:
        where.check_private(directory)

    def free_space(self, directory: Path) -> int:
        return free_space(directory)

    def names(self, directory: Path) -> list[str]:
        try:
            return os.listdir(str(directory))
        except OSError:
            return []

    def stat(self, path: Path) -> tuple[int, bool]:
        facts = os.lstat(str(path))
        return facts.st_size, stat.S_ISREG(facts.st_mode)

    def begin(self, directory: Path, suffix: str, first: bytes) -> tuple[str, int]:
        where.make_private(directory)
        with Turn(directory, suffix) as number:
            path = directory / (str(number) + suffix)
            try:
                if free_space(directory) < LEAST:
                    raise os_error(errno.ENOSPC)
                fd = os.open(str(path), _NEW, 0o600)
            except OSError as exc:
                raise where.cannot_write(directory, exc) from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                private_file.append(fd, first)
                where.sync_directory(directory)
            except BaseException as exc:
                os.close(fd)
                with suppress(OSError):
                    os.unlink(str(path))
                if isinstance(exc, OSError):
                    raise where.cannot_write(directory, exc) from None
                raise
        return str(number), fd

    def open(self, path: Path, append: bool = False) -> tuple[int, int, bool, bool]:
        fd = os.open(str(path), _APPEND if append else _READ)
        try:
            facts = os.fstat(fd)
            own = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
            locked = own and is_locked(fd)
            return fd, os.fstat(fd).st_size, own, locked  # now: what was running before may have ended
        except BaseException:
            os.close(fd)
            raise

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def pread(self, fd: int, count: int, at: int) -> bytes:
        return os.pread(fd, count, at)

    def append(self, fd: int, data: bytes, sync: bool = True) -> None:
        private_file.append(fd, data, sync)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def unlink(self, path: Path) -> None:
        os.unlink(str(path))

    def replace(self, path: Path, text: str) -> None:
        private_file.replace_private(path, text)

    def read(self, path: Path, most: int = 1 << 20) -> bytes:
        return private_file.read_private(path, most)

    def open_log(self, path: Path) -> int:
        return os.open(str(path), _LOG, 0o600)

    def hold(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def rename(self, path: Path, other: Path) -> None:
        os.replace(str(path), str(other))

    def lock_processes(self, folder: Path, pids: list[int]) -> Held:
        return ProcessLocks(folder, pids)

    def lock_name(self, folder: Path, name: str) -> Held:
        return NameLock(folder, name)


LOCAL = LocalState()
