"""A process, held by its folder in /proc: what is read through that is of this process, or there is nothing to read
any more. So a pid that is used again is never taken for it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from backend.errors import os_error
from backend.live.file_id import file_id
from backend.live.host import read_file

_UIDS = re.compile(rb"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)
_PROCESS = re.compile(rb"^Tgid:\t(\d+)$", re.MULTILINE)
_RIGHTS = re.compile(rb"^CapPrm:\t([0-9a-f]+)$", re.MULTILINE)
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """`uid`: whose it is; -1 if the kernel itself would not count it as that user's alone: with more than one uid, with
    capabilities, or not dumpable (ptrace(2)). `cgroup`: of version 2, else of systemd's hierarchy; "/"
    where neither is."""

    uid: int
    cgroup: str
    start_time: int


class Subject:
    """Raises ProcessLookupError if there is no such process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise os_error(3) from None

    def facts(self) -> Facts:
        """As they are now. Raises OSError if it has ended."""
        status = self._read("status")
        told = _PROCESS.search(status)
        if told is None or int(told[1]) != self.pid:
            raise os_error(3)  # a thread: its folder opens, though it is not listed
        found = _UIDS.search(status)
        uids = {int(one) for one in found.groups()} if found else set[int]()
        # Root's, if it is not dumpable. Its folder is not (task_dump_owner() in fs/proc/base.c).
        owner = os.stat("maps", dir_fd=self._fd, follow_symlinks=False).st_uid
        start = self._read("stat").rpartition(b")")[2].split()
        if len(start) < 20:
            raise os_error(3)
        more = _RIGHTS.search(status)
        alone = uids == {owner} and (owner == 0 or (more is not None and not int(more[1], 16)))
        return Facts(owner if alone else -1, self._cgroup(), int(start[19]))

    def read(self, name: str, offset: int, size: int, most: float) -> bytes:
        """A file of it, opened through its folder. Raises OSError."""
        return read_file(name, offset, size, most, self._fd)

    def program(self) -> tuple[int, int]:
        """Which file it runs."""
        return file_id("exe", self._fd)

    def _cgroup(self) -> str:
        lines = self._read("cgroup").decode("utf-8", "surrogateescape").split("\n")
        paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
        return paths.get("name=systemd") or paths.get("") or "/"

    def _read(self, name: str) -> bytes:
        data = read_file(name, 0, -1, _MOST, self._fd)
        if not data:
            raise os_error(3)
        return data

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()
