"""Where the state directory is, and that it is private. Runs on Python 3.6 too, in the agent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backend.errors import NotFound, NumatuiError
from backend.files.walk import Untrusted, check_trusted, open_folder, opened_parent, trusted_users

STATE = "set XDG_STATE_HOME, or HOME, to a folder of yours"


def jobs_dir() -> Path:
    """Where jobs are kept: `$XDG_STATE_HOME/numatui/jobs`, as the XDG base directory specification has it. Raises
    NotFound for a user without a home."""
    named = os.environ.get("XDG_STATE_HOME", "").strip()
    found = Path(named or os.path.expanduser("~/.local/state"), "numatui", "jobs")
    # expanduser leaves ~ as it is where there is no home.
    if not found.is_absolute():
        raise NotFound(
            "you have no home folder in which jobs could be kept", "set XDG_STATE_HOME, or HOME, to a folder"
        )
    return found


def make_private(directory: Path) -> None:
    """A folder of the user's own that nobody else can enter, nor put another in its place. Missing folders above it are
    made. Raises NumatuiError."""
    not_yours = NumatuiError(f"{directory} is not a folder of yours", "remove it: numatui makes its own")
    try:
        with opened_parent(directory, trusted=True, make=True) as (parent, name):
            try:
                fd = open_folder(name, parent, make=True)
            except NotADirectoryError:
                raise not_yours from None
            try:
                if os.fstat(fd).st_uid != os.geteuid():
                    raise not_yours
                if os.fstat(fd).st_mode & 0o077:
                    os.fchmod(fd, 0o700)
            finally:
                os.close(fd)
    except Untrusted as exc:
        raise Untrusted(exc.what, STATE) from None
    except OSError as exc:
        raise cannot_write(directory, exc) from None


def check_private(directory: Path) -> None:
    """Raises Untrusted if somebody else could have put there what lies there."""
    try:
        with opened_parent(directory, trusted=True) as (parent, name):
            fd = open_folder(name, parent)
            try:
                check_trusted(os.fstat(fd), str(directory), trusted_users())
            finally:
                os.close(fd)
    except Untrusted as exc:
        raise Untrusted(exc.what, STATE) from None
    except OSError:
        return  # nothing to be read


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
