"""One lock a machine: two jobs never move the same process, wherever their journals are; nor do two movers run.

Root's locks are in /run, those of a user where systemd gives users a folder of their own, else in the state directory.
A lock ends with the program that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from backend.errors import Busy, NumatuiError, describe_oserror
from backend.files.walk import open_folder, opened_parent

_F_OFD_SETLK = 37
"""Of every architecture (include/uapi/asm-generic/fcntl.h); Python has it from 3.9 on."""
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (fcntl(2))."""


def own_lock_folder() -> Path | None:
    """Where the jobs of this user lock; None: there is no such folder, they lock where their journals are."""
    run = Path("/run") if os.geteuid() == 0 else Path(f"/run/user/{os.geteuid()}")
    # A service may have a folder of its own in a /run that is read-only for it.
    return run / "numatui" if _is_own(run / "numatui") or _is_own(run) else None


def _is_own(folder: Path) -> bool:
    try:
        # Root of a user namespace sees the /run of another root, whose number it does not have.
        return folder.stat().st_uid == os.geteuid() and os.access(str(folder), os.W_OK)
    except OSError:
        return False


FILES = 32
"""Files of locks on pids, so that the kernel's list of locks of each stays short."""


def lock_byte(fd: int, pid: int, kind: int) -> bool:
    """F_WRLCK or F_UNLCK of a pid's byte; whether it could be done. An open file description lock: other threads of
    this program are refused as other programs are. Raises OSError."""
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, pid, 1, 0))
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


class ProcessLocks:
    """Locks on pids: one byte a pid, so that any number of processes takes few descriptors."""

    def __init__(self, folder: Path, pids: Iterable[int]) -> None:
        """Raises Busy if another job holds one of them, NumatuiError if there can be no lock."""
        self._fds: dict[int, int] = {}
        try:
            for pid in pids:
                self._lock(folder, pid)
        except BaseException:
            self.close()
            raise

    def _lock(self, folder: Path, pid: int) -> None:
        # The kernel walks a list of the locks of a file for each new one (posix_lock_inode() in fs/locks.c).
        which = pid % FILES
        if which not in self._fds:
            self._fds[which] = open_lock(folder, f"pids-{which}.lock")
        try:
            locked = lock_byte(self._fds[which], pid, fcntl.F_WRLCK)
        except OSError as exc:
            raise _cannot(folder, exc) from None
        if not locked:
            raise Busy(
                f"process {pid} is being moved already, by another job",
                "wait until that has ended, or stop it: numatui jobs",
            )

    def close(self) -> None:
        """Ends the locks."""
        while self._fds:
            os.close(self._fds.popitem()[1])


class NameLock:
    """A lock with a name, of one program at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises BlockingIOError if another program holds it, NumatuiError."""
        self._fd = open_lock(folder, name)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Ends the lock."""
        os.close(self._fd)


def open_lock(folder: Path, name: str) -> int:
    """A descriptor of a file in a private folder of the caller's. Raises NumatuiError."""
    try:
        with opened_parent(folder, trusted=True, make=True) as (parent, last):
            at = open_folder(last, parent, make=True)
        try:
            facts = os.fstat(at)
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o022:
                raise NumatuiError(f"{folder} is not a folder of yours alone", "remove it: numatui makes its own")
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
        finally:
            os.close(at)
    except OSError as exc:
        raise _cannot(folder, exc) from None


def _cannot(folder: Path, exc: OSError) -> NumatuiError:
    return NumatuiError(
        f"jobs cannot be locked in {folder} ({describe_oserror(exc)}): nothing is moved", "make it yours"
    )
