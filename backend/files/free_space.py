"""Free space of the disk under a file, before it is written: a full disk is told while nothing has happened yet."""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import NumatuiError, describe_oserror

LITTLE = 4 << 20
"""Bytes below which a file that grows, such as a journal or a recording, may fill the disk."""
LEAST = 4096
"""Bytes: a block of most filesystems. With less, not even a first line can be written."""


def free_space(path: Path) -> int:
    """Bytes that an ordinary user may still write where `path` is or will be. Raises NumatuiError."""
    place = path.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        facts = os.statvfs(str(place))
        return facts.f_bavail * facts.f_frsize
    except (OSError, ValueError) as exc:
        why = describe_oserror(exc) if isinstance(exc, OSError) else str(exc)
        raise NumatuiError(f"the disk of {path} cannot be accessed ({why})", "choose another folder") from None
