"""The files of a recording: below a folder, or in a tarball. Nothing outside of it is read, and nothing is unpacked to
disk. Whoever wrote it may be hostile: `limits.py`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from backend.errors import ParseError, os_error
from backend.files.given_file import read_all
from backend.recording.limits import MAX_FILE, MAX_MEMBERS


class Tree(Protocol):
    """`name`: of the folder with proc/ and sys/. `cut_off`: the tarball is truncated; what came before is readable."""

    name: str
    cut_off: bool

    def read(self, path: str) -> bytes: ...

    def listdir(self, path: str) -> list[str]: ...

    def below(self, path: str) -> Iterator[str]:
        """The paths of all files below a folder, relative to it, with a leading slash."""
        ...


def open_tree(path: Path) -> Tree:
    """Raises ParseError if it is not a folder or tarball with proc/ or sys/; OSError."""
    from backend.recording.tarball import Tarball

    return _Folder(path) if path.is_dir() else Tarball(path)


def _enoent(path: str) -> OSError:
    return os_error(errno.ENOENT, path)


class _Folder:
    """Files below `root`. Links that lead outside are not followed."""

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        inner = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.is_symlink())]
        found = next((p for p in inner if (p / "sys").is_dir() or (p / "proc").is_dir()), None)
        if found is None:
            raise ParseError(f"{root} is not a recording", "it has neither proc/ nor sys/")
        self.root = found.resolve()
        self.name = found.name
        self.cut_off = False

    def _resolve(self, path: str) -> Path:
        try:
            full = (self.root / path.lstrip("/")).resolve()
        except (OSError, RuntimeError) as exc:  # links in a circle: RuntimeError before Python 3.13
            raise os_error(errno.ELOOP, path) from exc
        if full != self.root and self.root not in full.parents:
            raise _enoent(path)
        return full

    def read(self, path: str) -> bytes:
        full = self._resolve(path)
        # O_NONBLOCK: never blocks, for example on a FIFO.
        fd = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _enoent(path)
            return read_all(fd, MAX_FILE)
        finally:
            os.close(fd)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(self._resolve(path))

    def below(self, path: str) -> Iterator[str]:
        top = self._resolve(path)
        found = (f"{folder[len(str(top)) :]}/{name}" for folder, _, names in os.walk(top) for name in names)
        yield from islice(found, MAX_MEMBERS)
