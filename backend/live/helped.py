"""The running Linux for a user with few rights: what the kernel refuses is asked of the helper, where there is one.

Everything else the user does with rights of his own. See docs/helper.md. Runs on Python 3.6 too, in the agent."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backend.agent.connection import ConnectionLost
from backend.agent.helped_files import PROGRAM
from backend.agent.helper import Helper
from backend.agent.pages import ask_move_pages
from backend.agent.told import items, number
from backend.errors import NumatuiError, os_error
from backend.live.host import Host
from backend.state.local import LocalState

if TYPE_CHECKING:
    from pathlib import Path

    from backend.kernel import Numbers
    from backend.state_files import Held


_PIECE = 200
"""Processes that are locked by one request."""


class HelpedHost(Host):
    """See `Host`. `helper`: is asked for what the kernel refuses."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__(most)
        self.helper = Helper()
        if self.helper.is_there():
            threading.Thread(target=self.helper.connection, name="numatui-helper", daemon=True).start()

    def listdir(self, path: str) -> list[str]:
        if path == "/proc":
            self.helper.connection()  # who reads all processes has no time to wait for it at each of them
        return super().listdir(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        try:
            return super().read(path, offset, size)
        except PermissionError:
            if not self.helper.reads(path):
                raise
            return self._asked("read", path, offset, size)[1]

    def file_id(self, path: str) -> tuple[int, int]:
        try:
            return super().file_id(path)
        except PermissionError:
            if not (self.helper.is_there() and PROGRAM.match(path)):
                raise
            device, inode = items(self._asked("file_id", path)[0], 2)
            return number(device), number(inode)

    def _asked(self, operation: str, *arguments: Any) -> tuple[Any, bytes]:
        """Raises OSError, also if there is no helper any longer: then it is as if there had been none."""
        try:
            return self.helper.call(operation, *arguments)
        except ConnectionLost:
            raise os_error(errno.EACCES) from None

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        try:
            return super().move_pages(pid, pages, nodes, status, flags)
        except PermissionError:
            if not self.helper.is_there():
                raise
        return ask_move_pages(self.helper.call, pid, pages, nodes, status, flags)

    def probe(self) -> dict[str, tuple[bool, str]]:
        out = super().probe()
        if not out["move_all"][0] and self.helper.connection() and self.helper.can.get("shared"):
            out["move_all"] = (True, "")
        return out

    def helped(self) -> tuple[list[str], str]:
        """See `backend.kernel.helped`."""
        self.helper.connection()
        return self.helper.rights, self.helper.problem


class HelpedState(LocalState):
    """The user's state directory. Processes that the helper may move are locked there too: that is where root's jobs
    lock."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def lock_processes(self, folder: Path, pids: list[int]) -> Held:
        own = super().lock_processes(folder, pids)
        if self._helper.connection() is None:
            return own
        others = [pid for pid in pids if not _is_own(pid)]
        numbers: list[int] = []
        try:
            for at in range(0, len(others), _PIECE):
                numbers.append(number(self._helper.call("state_lock", others[at : at + _PIECE])[0]))  # noqa: PERF401 (some may fail)
        except BaseException as exc:
            _Both(own, self._helper, numbers).close()
            if isinstance(exc, OSError):
                raise NumatuiError(f"the helper cannot lock so many processes ({exc.strerror})", "name fewer") from None
            raise
        return _Both(own, self._helper, numbers)


def _is_own(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return True


class _Both:
    def __init__(self, own: Held, helper: Helper, numbers: list[int]) -> None:
        self._own, self._helper, self._numbers = own, helper, numbers

    def close(self) -> None:
        with suppress(NumatuiError, OSError):  # with the connection all are given back
            for number in self._numbers:
                self._helper.call("state_unlock", number)
        self._own.close()
