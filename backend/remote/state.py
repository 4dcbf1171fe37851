"""The state directory of the far machine: its jobs, its locks, through the agent."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.agent.connection import Connection
from backend.agent.told import items, number
from backend.errors import NotFound, NumatuiError, os_error


class RemoteState:
    """See `backend.state_files.StateFiles`. Of paths, only the last name crosses: the agent knows its folder."""

    piece = 1 << 16

    def __init__(self, connection: Connection, jobs: str, problem: str) -> None:
        self._connection, self._problem = connection, problem
        self._jobs = Path(jobs) if jobs.startswith("/") else None

    def jobs_dir(self) -> Path:
        if self._jobs is None:
            raise NotFound(self._problem or "there is no state directory", "set XDG_STATE_HOME there")
        return self._jobs

    def lock_folder(self) -> Path | None:
        return None  # the agent knows its own

    def make_private(self, directory: Path) -> None:
        self._call("state_make", self._which(directory))

    def check_private(self, directory: Path) -> None:
        self._call("state_check", self._which(directory))

    def free_space(self, directory: Path) -> int:
        return _number(self._call("state_free", self._which(directory)))

    def names(self, directory: Path) -> list[str]:
        _, payload = self._connection.call("state_names", self._which(directory))
        return payload.decode("utf-8", "surrogateescape").split("\0") if payload else []

    def stat(self, path: Path) -> tuple[int, bool]:
        size, regular = items(self._call("state_stat", self._name(path)), 2)
        return _number(size), bool(regular)

    def begin(self, directory: Path, suffix: str, first: bytes) -> tuple[str, int]:
        result, _ = self._connection.call("state_begin", self._which(directory), suffix, payload=first)
        job, fd = items(result, 2)
        if not (isinstance(job, str) and job.isascii() and job.isdigit() and len(job) < 16):
            raise os_error(errno.EPROTO)
        return job, _number(fd)

    def open(self, path: Path, append: bool = False) -> tuple[int, int, bool, bool]:
        fd, size, own, running = items(self._call("state_open", self._name(path), append), 4)
        return _number(fd), _number(size), bool(own), bool(running)

    def size(self, fd: int) -> int:
        return _number(self._call("state_size", fd))

    def pread(self, fd: int, count: int, at: int) -> bytes:
        return self._connection.call("state_pread", fd, count, at)[1][:count]

    def append(self, fd: int, data: bytes, sync: bool = True) -> None:
        self._connection.call("state_append", fd, sync, payload=data)

    def truncate(self, fd: int, size: int) -> None:
        self._call("state_truncate", fd, size)

    def close(self, fd: int) -> None:
        with suppress(NumatuiError):  # with the connection all are closed
            self._call("state_close", fd)

    def unlink(self, path: Path) -> None:
        self._call("state_unlink", self._name(path))

    def replace(self, path: Path, text: str) -> None:
        self._connection.call("state_replace", self._name(path), payload=text.encode())

    def read(self, path: Path, most: int = 1 << 20) -> bytes:
        return self._connection.call("state_read", self._name(path), most)[1][:most]

    def open_log(self, path: Path) -> int:
        return _number(self._call("state_open_log", self._name(path)))

    def hold(self, fd: int) -> None:
        self._call("state_hold", fd)

    def rename(self, path: Path, other: Path) -> None:
        self._call("state_rename", self._name(path), self._name(other))

    def lock_processes(self, folder: Path, pids: list[int]) -> _RemoteLock:
        return _RemoteLock(self._connection, pids)

    def lock_name(self, folder: Path, name: str) -> _RemoteLock:
        return _RemoteLock(self._connection, name)

    def _call(self, operation: str, *arguments: Any) -> Any:
        return self._connection.call(operation, *arguments)[0]

    def _which(self, directory: Path) -> str:
        if directory == self._jobs:
            return "jobs"
        if directory == self.jobs_dir().parent:
            return "state"
        raise os_error(errno.EXDEV, str(directory))

    def _name(self, path: Path) -> list[str]:
        return [self._which(path.parent), path.name]


class _RemoteLock:
    def __init__(self, connection: Connection, what: list[int] | str) -> None:
        self._connection = connection
        try:
            self._number = _number(connection.call("state_lock", what)[0])
        except OSError as exc:
            if exc.errno == errno.EAGAIN:
                raise BlockingIOError(exc.errno, exc.strerror) from None
            raise

    def close(self) -> None:
        with suppress(NumatuiError, OSError):  # with the connection all are given back
            self._connection.call("state_unlock", self._number)


def _number(value: Any) -> int:
    return number(value, 1 << 62)
