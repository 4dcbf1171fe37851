"""Files that a user names: scenarios, policies, plans, recordings, configuration. Whoever wrote them may be hostile."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backend.errors import NotFound, ParseError

MIB = 1 << 20


def open_given(path: Path | str) -> int:
    """A descriptor of a regular file. Never waits: a FIFO, a socket or a device is refused. Raises OSError."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as exc:  # a NUL in the name
        raise OSError(errno.ENOENT, str(exc)) from None
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
