"""Files that a user names: scenarios, policies, plans, recordings, configuration. Whoever wrote them may be hostile."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backend.errors import NotFound, ParseError
from backend.files.walk import check_trusted, opened_parent, trusted_users

MIB = 1 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO would wait for its writer."""


def open_given(path: Path | str) -> int:
    """A descriptor of a regular file. Never waits: a FIFO, a socket or a device is refused. Raises OSError."""
    try:
        fd = os.open(path, _READ)
    except ValueError as exc:  # a NUL in the name
        raise OSError(errno.ENOENT, str(exc)) from None
    return _regular(fd)


def read_trusted(path: Path, most: int = MIB) -> bytes:
    """As `read_given`, of a file that nobody but root and the user can change or replace. Raises Untrusted, OSError."""
    try:
        with opened_parent(path, trusted=True, follow=True) as (parent, name):
            fd = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=parent)
    except ValueError as exc:
        raise OSError(errno.ENOENT, str(exc)) from None
    with os.fdopen(_regular(fd), "rb") as file:
        check_trusted(os.fstat(file.fileno()), str(path), trusted_users())
        return read_all(file.fileno(), most)


def _regular(fd: int) -> int:
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is not a file")


def read_given(path: Path | str, most: int = MIB) -> bytes:
    """The contents of a regular file, at most `most` bytes. Raises OSError."""
    with os.fdopen(open_given(path), "rb") as file:
        return read_all(file.fileno(), most)


def unreadable(what: str, exc: OSError, fix: str = "") -> NotFound | ParseError:
    """The error for a user: `what` is there and nothing to be read, or cannot be opened."""
    kind = ParseError if exc.errno in (errno.EFBIG, errno.EINVAL) else NotFound
    return kind(f"{what} cannot be read ({exc.strerror})", fix)


def read_all(fd: int, most: int) -> bytes:
    """All of a descriptor, at most `most` bytes. Raises OSError (EFBIG)."""
    parts: list[bytes] = []
    left = most + 1
    while left and (part := os.read(fd, min(left, MIB))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise OSError(errno.EFBIG, f"it is larger than {most / MIB:g} MiB")
    return b"".join(parts)
