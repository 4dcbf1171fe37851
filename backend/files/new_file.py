"""Files and folders that a user names for us to write: private, new, never over something, and never through a link
that somebody else made."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from backend.errors import NotFound, NotPermitted, NumatuiError, UsageError
from backend.files.walk import check_closed, open_folder, opened_parent

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_new(path: Path) -> int:
    """A descriptor for writing, of a file with mode 0600. Raises UsageError for something that is there already,
    NotFound where its folder is not there, NotPermitted, Untrusted, OSError."""
    try:
        with opened_parent(path) as (parent, name):
            return os.open(name, _NEW, 0o600, dir_fd=parent)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another file, or remove that one first") from None
    except OSError as exc:
        raise _refused(path, exc) from None


def _refused(path: Path, exc: OSError) -> NumatuiError | OSError:
    """Why nothing of that name can be made."""
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermitted(f"{path} cannot be written ({exc.strerror})", "name a folder of your own")
    if exc.errno != errno.ENOENT:
        return exc
    if path.parent.is_dir():  # as /proc is: it has what the kernel puts there
        return UsageError(f"no files can be made in {path.parent}", "name a folder on a disk")
    return NotFound(f"there is no folder {path.parent}", "make it first, or name another")


class NewFolder:
    """A folder of the user's own, new or empty, in which nobody else can put anything. A new one has mode 0700; what
    is there keeps its mode. Raises UsageError, NotFound, NotPermitted, Untrusted, OSError."""

    def __init__(self, path: Path) -> None:
        try:
            with opened_parent(path) as (parent, name):
                self._fd = open_folder(name, parent, make=True)
        except NotADirectoryError:
            raise UsageError(f"{path} is there already", "name another folder, or remove that one first") from None
        except OSError as exc:
            raise _refused(path, exc) from None
        try:
            facts = os.fstat(self._fd)
            if facts.st_uid != os.geteuid():
                raise UsageError(f"the folder {path} belongs to another user", "name one that is new")
            check_closed(facts, f"the folder {path}", "name one that is new")
            if os.listdir(self._fd):
                raise UsageError(f"the folder {path} is not empty", "name one that is new or empty")
        except BaseException:
            os.close(self._fd)
            raise
        self._known: set[str] = set()

    def write(self, path: str, data: bytes) -> None:
        """A new file below it. `path`: relative, without `..`. Raises OSError."""
        folder = ""
        for part in path.split("/")[:-1]:
            folder = f"{folder}/{part}" if folder else part
            if folder not in self._known:
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=self._fd)
                self._known.add(folder)
        with os.fdopen(os.open(path, _NEW, 0o600, dir_fd=self._fd), "wb") as file:
            file.write(data)

    def close(self) -> None:
        os.close(self._fd)
