"""A far machine's Linux as a `Kernel`: every call is a request to the agent there.

Calls of several threads are under way side by side. What the far side answers is checked for its form and size; what
it means is as hostile as every file of a machine."""

from __future__ import annotations

import errno
import struct
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from typing import Any, cast

from backend.agent.batch import Received
from backend.agent.connection import Connection
from backend.agent.pages import ask_move_pages
from backend.agent.told import items, number, text
from backend.errors import NotSupported, ParseError, os_error
from backend.files.text import printable
from backend.kernel import Capabilities, Kernel, Numbers, Source, Traits
from backend.live.kernel import capabilities_of
from backend.remote.ahead import Ahead
from backend.remote.state import RemoteState


class RemoteKernel:
    """Thread-safe. `reference`: what has to be named to come there again."""

    source: Source = "remote"

    def __init__(self, connection: Connection, reference: str) -> None:
        """Raises ConnectionLost, NotSupported, ParseError."""
        self.connection, self.reference = connection, reference
        hello = connection.hello()
        try:
            self.name = printable(text(hello["name"], 255), 255)
            self.page_size = number(hello["page_size"])
            self._credentials = number(hello["uid"]), bool(hello["privileged"])
            can = hello["can"]
            self._capabilities = capabilities_of(
                {str(call): (can[call][0] is True, printable(str(can[call][1]), 300)) for call in can}
            )
            self.files = RemoteState(connection, text(hello["jobs"], 4096), printable(str(hello["problem"]), 300))
            own_pid = number(hello["pid"])
            other_order = bool(hello["big_endian"]) != (sys.byteorder == "big")
        except (KeyError, TypeError, IndexError, ValueError, OSError):
            raise ParseError(f"the agent on {connection.host} does not say who it is", "it is no numatui") from None
        if self.page_size & (self.page_size - 1) or not 512 <= self.page_size <= 1 << 24:
            raise ParseError(f"the agent on {connection.host} has pages of {self.page_size} bytes", "it is no numatui")
        if other_order:
            raise NotSupported(f"{connection.host} has the other byte order", "run numatui on a machine like it")
        self.traits = Traits(
            parallel_calls=True, reading_stalls=True, writable=True, keeps_jobs=True, far=True, own_pid=own_pid,
        )  # fmt: skip
        self._users = _users(hello.get("users"))
        self._helped = _helped(hello.get("helped"))
        self._received: dict[str, Received] = {}
        self._learned: dict[str, set[str]] = {}
        self._names = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def helped(self) -> tuple[list[str], str]:
        """See `backend.kernel.helped`."""
        return self._helped

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        data = self.connection.call("read", path, offset, size)[1]
        return data if size < 0 else data[:size]

    def read_ahead(self, name: str, patterns: Sequence[str]) -> Kernel:
        return self.read_ahead_of(self, name, patterns)

    def read_ahead_of(self, behind: Any, name: str, patterns: Sequence[str]) -> Kernel:
        """One round trip. What the agent does not answer in time is read when it is asked for, from `behind`. What was
        asked for without being among the patterns is read ahead the next time."""
        with self._names:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            return self._read_ahead(behind, name, patterns)

    def _read_ahead(self, behind: Any, name: str, patterns: Sequence[str]) -> Kernel:
        # Unknown until this answer has arrived and was taken whole: what the agent has sent meanwhile may be lost.
        kept = self._received.pop(name, None)
        anew = kept is None
        kept = kept or Received()
        again = sorted(self._learned.get(name, ()))
        learned = self._learned[name] = set[str]()
        payload = "\0".join((*patterns, *again)).encode("utf-8", "surrogateescape")
        try:
            header, data = self.connection.call_with_object("batch", name, anew, payload=payload)
            kept.update(header, data)
        except (ValueError, KeyError) as exc:
            self.connection.lose(f"it sent what no agent sends ({printable(str(exc), 100)})")
            raise os_error(errno.EPROTO) from None
        self._received[name] = kept
        return cast(Kernel, Ahead(behind, kept.files, patterns, again, learned, complete=not kept.cut))

    def read_entries(self, path: str, numbers: Sequence[int]) -> Numbers:
        asked = struct.pack(f"={len(numbers)}Q", *numbers)
        data = self.connection.call("read_entries", path, payload=asked)[1]
        if len(data) != len(asked):
            raise os_error(errno.EPROTO)
        return array("Q", data)

    def read_resting(self, path: str, offset: int, size: int, rest: int) -> bytes:
        return self.connection.call("read_resting", path, offset, size, rest)[1][:size]

    def listdir(self, path: str) -> list[str]:
        data = self.connection.call("listdir", path)[1]
        return data.decode("utf-8", "surrogateescape").split("\0") if data else []

    def file_id(self, path: str) -> tuple[int, int]:
        return _pair(self.connection.call("file_id", path)[0])

    def write(self, path: str, data: bytes) -> None:
        self.connection.call("write", path, payload=data)

    def username(self, uid: int) -> str:
        """Asked once: names of users seldom change."""
        if uid not in self._users:
            try:
                (name,) = self.connection.call("username", uid)[0]
                self._users[uid] = text(name, 255)
            except (ValueError, TypeError, OSError):
                self._users[uid] = str(uid)
        return self._users[uid]

    def clock(self) -> int:
        """That of this machine: durations are what is measured, and rates include the way there."""
        return time.monotonic_ns()

    def pause(self, nanoseconds: int) -> None:
        time.sleep(nanoseconds / 1e9)

    def credentials(self) -> tuple[int, bool]:
        return self._credentials

    def pidfd_open(self, pid: int) -> int:
        return number(self.connection.call("pidfd_open", pid)[0])

    def pidfd_alive(self, fd: int) -> bool:
        return self.connection.call("pidfd_alive", fd)[0] is True

    def pidfd_close(self, fd: int) -> None:
        if not self.connection.lost:
            self.connection.call("pidfd_close", fd)

    def pidfd_send_signal(self, fd: int, number: int) -> None:
        self.connection.call("pidfd_send_signal", fd, number)

    def setpriority(self, tid: int, nice: int) -> None:
        self.connection.call("setpriority", tid, nice)

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        return number(self.connection.call("migrate_pages", pid, maxnode, len(old), payload=old + new)[0])

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        return ask_move_pages(self.connection.call, pid, pages, nodes, status, flags)

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        result, data = self.connection.call("pagemap_scan", pid, start, end, count)
        came = number(result)
        if not start <= came <= end or len(data) > 24 * count or len(data) % 24:
            raise os_error(errno.EPROTO)
        return came, data

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        """Of the calling task: that would be the agent."""
        raise os_error(errno.ENOSYS)

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        raise os_error(errno.ENOSYS)

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        raise os_error(errno.ENOSYS)


def _users(told: Any) -> dict[int, str]:
    """Those that the agent told by itself."""
    try:
        return {int(uid): text(name, 64) for uid, name in dict(told or {}).items()}
    except (ValueError, TypeError, OSError):
        return {}


def _helped(told: Any) -> tuple[list[str], str]:
    try:
        rights, problem = told
        return [printable(str(one), 300) for one in list(rights)[:100]], printable(str(problem), 600)
    except (ValueError, TypeError):
        return [], ""


def _pair(value: Any) -> tuple[int, int]:
    first, second = items(value, 2)
    return number(first), number(second)
