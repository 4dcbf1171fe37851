"""Files of the user's own, replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_private(path: Path, text: str) -> None:
    """Write a file (mode 600) so that whoever reads it sees the old or the new one, also after a crash. Raises
    OSError."""
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
    """A file, not through a symbolic link, without waiting for whoever is at the other end. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(most)
