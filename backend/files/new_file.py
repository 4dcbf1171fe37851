"""Files that a user names for us to write: private, new, never through a link or over something."""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import NotFound, UsageError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_new(path: Path) -> int:
    """A descriptor for writing, of a file with mode 0600. Raises UsageError for something that is there already,
    NotFound where its folder is not there, OSError."""
    try:
        return os.open(path, _NEW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another file, or remove that one first") from None
    except FileNotFoundError:
        raise NotFound(f"there is no folder {path.parent}", "make it first, or name another") from None
