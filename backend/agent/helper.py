"""The helper as those see it whom it helps: a connection that is kept while this program runs.

`NUMATUI_HELPER` names another socket, or a command that serves one caller on its input and output (as `sudo -n numatui
helper --serve` does), or `no`."""

from __future__ import annotations

import os
import shlex
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backend.agent.connection import Connection
from backend.agent.helped_files import OF_A_PROCESS, OF_FRAMES, SOCKET
from backend.agent.told import text
from backend.errors import NumatuiError, os_error
from backend.files.text import printable

if TYPE_CHECKING:
    from typing import IO

_AGAIN = 30.0
"""Seconds until a helper that could not be reached is tried again."""
_SAYING_HELLO = 30.0
"""Seconds that it may take to begin."""
_HINTS = ("journalctl -t numatui-helper, as root, has its reason", "what was done is in the journals: numatui jobs")


class Helper:
    """Thread-safe. `rights`: what it lets this caller do, a line a rule; none before it was asked, or if it lets
    nothing. `problem`: why it cannot be used."""

    def __init__(self) -> None:
        self.rights: list[str] = []
        self.problem = ""
        self.can: dict[str, bool] = {}
        self._connection: Connection | None = None
        self._began = threading.Lock()
        self._tried = -_AGAIN

    @staticmethod
    def is_there() -> bool:
        """Whether there is one that could be asked. The kernel refuses root nothing that a helper could do."""
        where = os.environ.get("NUMATUI_HELPER", SOCKET)
        return os.geteuid() != 0 and where != "no" and (where != SOCKET or os.path.exists(SOCKET))

    def reads(self, path: str) -> bool:
        """Whether it might read that file for this caller."""
        if not (OF_A_PROCESS.match(path) or path in OF_FRAMES) or self.connection() is None:
            return False
        return self.can.get("frames") is True or not path.endswith(("/pagemap", *OF_FRAMES))

    def call(self, operation: str, *arguments: Any, payload: bytes | None = None) -> tuple[Any, bytes]:
        """As `Connection.call`; OSError (EPERM) where there is no helper, ConnectionLost if it has ended meanwhile."""
        connection = self.connection()
        if connection is None:
            if self._connection is not None:
                self._connection.check()
            raise os_error(1)
        return connection.call(operation, *arguments, payload=payload)

    def connection(self) -> Connection | None:
        """The connection, begun if need be; None without a helper. Never raises."""
        if self._connection is not None and not self._connection.lost:
            return self._connection
        if not self.is_there():
            return None
        with self._began:
            if (self._connection is None or self._connection.lost) and time.monotonic() - self._tried >= _AGAIN:
                self._connection = self._begin()
                self._tried = time.monotonic()
            return None if self._connection is None or self._connection.lost else self._connection

    def _begin(self) -> Connection | None:
        self.rights, self.can, self.problem = [], {}, ""
        try:
            where = os.environ.get("NUMATUI_HELPER", SOCKET)
            connection = _by_socket(where) if where.startswith("/") else _by_command(shlex.split(where))
            hello = connection.hello()
            self.rights = [printable(text(one, 2000), 300) for one in hello["rights"][:100]]
            self.can = {name: hello["can"][name] is True for name in ("frames", "shared")}
        except NumatuiError as exc:
            self.problem = str(exc)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            why = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
            self.problem = f"the helper cannot be reached ({printable(why, 200)})"
        else:
            return connection
        return None


def _by_socket(path: str) -> Connection:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        one.settimeout(_SAYING_HELLO)
        one.connect(path)
        uid = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.geteuid()):
            raise ValueError(f"{path} belongs to another user (uid {uid})")
        one.settimeout(None)
    except BaseException:
        one.close()
        raise

    def abandon() -> None:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

    return Connection("the helper", one.makefile("rb"), one.sendall, lambda: "", abandon, _HINTS, _SAYING_HELLO)


def _by_command(words: list[str]) -> Connection:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    stdin: IO[bytes] | None = process.stdin
    assert stdin is not None
    assert process.stdout is not None
    given = stdin

    def write(data: bytes) -> None:
        given.write(data)
        given.flush()

    return Connection("the helper", process.stdout, write, lambda: "", process.terminate, _HINTS, _SAYING_HELLO)
