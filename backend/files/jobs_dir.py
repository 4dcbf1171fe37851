"""The state directory: where jobs, measurements and what the screen keeps lie, private to the user."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backend.errors import NumatuiError


def jobs_dir() -> Path:
    """Where jobs are kept: `$XDG_STATE_HOME/numatui/jobs`, as platformdirs has it."""
    from platformdirs import user_state_path

    return user_state_path("numatui", appauthor=False) / "jobs"


def make_private(directory: Path) -> None:
    """A folder of the user's own that nobody else can enter. Raises NumatuiError."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        facts = os.lstat(directory)
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_mode & 0o077:
            os.chmod(directory, 0o700)
    except OSError as exc:
        raise cannot_write(directory, exc) from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise NumatuiError(f"{directory} is not a folder of yours", "remove it: numatui makes its own")


def sync_directory(directory: Path) -> None:
    """The names in it are on disk when this returns."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cannot_write(directory: Path, exc: OSError) -> NumatuiError:
    why = "the disk is full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else exc.strerror or str(exc)
    return NumatuiError(
        f"the journal in {directory} cannot be written ({why}): nothing more is moved",
        "make room there, or set XDG_STATE_HOME to another folder",
    )
