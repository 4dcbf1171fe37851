"""What the helper opens while it is root: locks, the budget of a user, the audit log. It cannot open them later."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.errors import Busy, NotPermitted, NumatuiError, os_error
from backend.state.local import LOCAL
from backend.state.machine_lock import FILES, NameLock, lock_byte, open_lock

SCHEMA = "numatui/helper-audit/1"
LOCKS = Path("/run/numatui")
"""Where root's jobs lock."""
SLOTS = 8
"""Connections of one user at a time."""
_MOST_LOG = 16 << 20
"""Bytes from which on the log is begun anew; the old one is kept as `.1`."""
_MOST_WRITTEN = 4 << 20
"""Bytes of the log that one connection may write."""
_UNTIL = struct.Struct("=d")
_MOST_OWED = 86_400.0
"""Seconds that one call may take of the budget."""


def take_slot(uid: int, folder: Path = LOCKS) -> NameLock:
    """Raises Busy if this user has as many connections as he may have."""
    for number in range(SLOTS):
        with suppress(BlockingIOError):
            return NameLock(folder, f"helper-{uid}-{number}.lock")
    raise Busy(f"you have {SLOTS} connections to the helper already", "end one of them")


class PidLocks:
    """Locks on pids, the same as root's jobs take. Thread-safe."""

    def __init__(self, folder: Path = LOCKS) -> None:
        self._fds = [open_lock(folder, f"pids-{number}.lock") for number in range(FILES)]
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def take(self, pid: int) -> None:
        """Raises Busy if another job has it, here or elsewhere."""
        with self._lock:
            if pid in self._held or not lock_byte(self._fds[pid % FILES], pid, fcntl.F_WRLCK):
                raise Busy(f"process {pid} is being moved already, by another job", "wait until that has ended")
            self._held.add(pid)

    def release(self, pid: int) -> None:
        with self._lock:
            self._held.discard(pid)
            lock_byte(self._fds[pid % FILES], pid, fcntl.F_UNLCK)

    def holds(self, pid: int) -> bool:
        with self._lock:
            return pid in self._held


class Budget:
    """Bytes a second of one user, over all his connections: a moment until which they are spent."""

    def __init__(self, uid: int, folder: Path = LOCKS) -> None:
        self._fd = open_lock(folder, f"helper-{uid}.rate")
        self._lock = threading.Lock()

    def spend(self, amount: int, rate: int, longest: float) -> float | None:
        """Seconds to wait before so many bytes may be moved; None, and nothing is booked, for more than `longest`."""
        with self._lock:  # a flock is the file's, not a thread's
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                now = time.monotonic()
                kept = os.pread(self._fd, _UNTIL.size, 0)
                until = max(now, _UNTIL.unpack(kept)[0] if len(kept) == _UNTIL.size else now)
                if not (until - now <= longest and amount / rate <= _MOST_OWED):
                    return None
                os.pwrite(self._fd, _UNTIL.pack(until + amount / rate), 0)
                return until - now
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)


class AuditLog:
    """One JSON document a line, on disk before what it says is done. Thread-safe. Raises NumatuiError if it cannot be
    written."""

    def __init__(self, folder: Path, who: dict[str, Any]) -> None:
        LOCAL.make_private(folder)
        path = folder / "helper.jsonl"
        self._who, self._written, self._lock = who, 0, threading.Lock()
        try:
            self._fd = LOCAL.open_log(path)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if LOCAL.size(self._fd) > _MOST_LOG and os.fstat(self._fd).st_nlink:
                LOCAL.rename(path, path.with_suffix(".jsonl.1"))
                LOCAL.close(self._fd)
                self._fd = LOCAL.open_log(path)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise NumatuiError(f"the audit log {path} cannot be written ({exc.strerror})") from None

    def write(self, event: str, **what: Any) -> None:
        """Raises NotPermitted when this connection has written too much, OSError."""
        record = {"schema": SCHEMA, "at": round(time.time(), 3), "event": event, **self._who, **what}
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        with self._lock:
            self._written += len(line)
            if self._written > _MOST_WRITTEN:
                raise NotPermitted("this connection has done too many jobs", "begin another one")
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                if not os.fstat(self._fd).st_nlink:
                    raise NotPermitted("the audit log was begun anew", "connect again")
                if os.write(self._fd, line) != len(line):  # never taken back: others may have written behind it
                    raise os_error(errno.ENOSPC)
                os.fdatasync(self._fd)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
