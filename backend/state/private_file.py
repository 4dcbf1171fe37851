"""Files of the user's own, replaced whole or not at all; what is appended, whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from backend.files.walk import Untrusted, opened_parent


def replace_private(path: Path, text: str) -> None:
    """Write a file (mode 600) so that whoever reads it sees the old or the new one, also after a crash. Its folder is
    the user's: `make_private`. Raises OSError."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def read_private(path: Path, most: int = 1 << 20) -> bytes:
    """A file of the user's in a folder that nobody else can change, without waiting for whoever is at the other end.
    Raises OSError."""
    try:
        with opened_parent(path, trusted=True) as (parent, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except Untrusted as exc:
        raise OSError(errno.EPERM, str(exc)) from None
    with os.fdopen(fd, "rb") as file:
        return file.read(most)


def append(fd: int, data: bytes, sync: bool = True) -> None:
    """Write at the end; it is on disk when this returns if `sync`. What could not be written whole is taken away again,
    so that what follows can be read. Raises OSError."""
    end = os.fstat(fd).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
        if sync:
            os.fdatasync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, end)
        raise
