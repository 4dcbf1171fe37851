"""The running Linux for a user with few rights: what the kernel refuses is asked of the helper, where there is one.

Everything else the user does with rights of his own. See docs/helper.md. Runs on Python 3.6 too, in the agent."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from backend.agent.helped_files import PROGRAM
from backend.agent.helper import Helper
from backend.agent.pages import ask_move_pages
from backend.agent.told import items, number
from backend.errors import NumatuiError
from backend.live.host import Host
from backend.state.local import LocalState

if TYPE_CHECKING:
    from pathlib import Path

    from backend.kernel import Numbers
    from backend.state_files import Held


class HelpedHost(Host):
    """See `Host`. `helper`: is asked for what the kernel refuses."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__(most)
        self.helper = Helper()
        if self.helper.is_there():
            threading.Thread(target=self.helper.connection, name="numatui-helper", daemon=True).start()

    def listdir(self, path: str) -> list[str]:
        if path == "/proc" and self.helper.is_there():
            self.helper.connection()  # who reads all processes has no time to wait for it at each of them
        return super().listdir(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        try:
            return super().read(path, offset, size)
        except PermissionError:
            if not (self.helper.is_there() and self.helper.reads(path)):
                raise
        return self.helper.call("read", path, offset, size)[1]

    def file_id(self, path: str) -> tuple[int, int]:
        try:
            return super().file_id(path)
        except PermissionError:
            if not (self.helper.is_there() and PROGRAM.match(path)):
                raise
        device, inode = items(self.helper.call("file_id", path)[0], 2)
        return number(device), number(inode)

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        try:
            return super().move_pages(pid, pages, nodes, status, flags)
        except PermissionError:
            if not self.helper.is_there():
                raise
        return ask_move_pages(self.helper.call, pid, pages, nodes, status, flags)

    def probe(self) -> dict[str, tuple[bool, str]]:
        out = super().probe()
        if not out["move_all"][0] and self.helper.is_there() and self.helper.connection() and self.helper.can["shared"]:
            out["move_all"] = (True, "")
        return out

    def helped(self) -> tuple[list[str], str]:
        """See `backend.kernel.helped`."""
        if self.helper.is_there():
            self.helper.connection()
        return self.helper.rights, self.helper.problem


class HelpedState(LocalState):
    """The user's state directory. Processes that the helper may move are locked there too: that is where root's jobs
    lock."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def lock_processes(self, folder: Path, pids: list[int]) -> Held:
        own = super().lock_processes(folder, pids)
        if not self._helper.is_there() or self._helper.connection() is None:
            return own
        try:
            return _Both(own, self._helper, number(self._helper.call("state_lock", pids)[0]))
        except BaseException:
            own.close()
            raise


class _Both:
    def __init__(self, own: Held, helper: Helper, number: int) -> None:
        self._own, self._helper, self._number = own, helper, number

    def close(self) -> None:
        with suppress(NumatuiError, OSError):  # with the connection all are given back
            self._helper.call("state_unlock", self._number)
        self._own.close()
