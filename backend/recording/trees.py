"""The files of a recording: below a folder, or in a tarball. Nothing outside of it is read, and nothing is unpacked to
disk."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path
from typing import Protocol

from backend.errors import ParseError, os_error
from backend.files.given_file import open_given

MAX_FILE = 256 << 20
MAX_TOTAL = 2 << 30
MAX_FILES = 2_000_000
"""A tarball that unpacks to more bytes or files than these is refused: no real recording is that large."""


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
    return _Folder(path) if path.is_dir() else _Tarball(path)


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
        with os.fdopen(fd, "rb") as handle:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _enoent(path)
            data = handle.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise os_error(errno.EFBIG, path)
        return data

    def listdir(self, path: str) -> list[str]:
        return os.listdir(self._resolve(path))

    def below(self, path: str) -> Iterator[str]:
        top = self._resolve(path)
        for folder, _, names in os.walk(top):
            inside = folder[len(str(top)) :]
            yield from (f"{inside}/{name}" for name in names)


class _Tarball:
    """A tarball read whole into memory: nothing is unpacked to disk, so nothing in it can escape."""

    def __init__(self, path: Path) -> None:
        self._files: dict[str, bytes] = {}
        self._dirs: dict[str, dict[str, None]] = {}
        self.cut_off = False
        links: dict[str, str] = {}
        total = count = 0
        try:
            with os.fdopen(open_given(path), "rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
                for member in tar:
                    count += 1
                    total += member.size if member.isreg() else 0
                    if member.size > MAX_FILE or total > MAX_TOTAL or count > MAX_FILES:
                        raise ParseError(
                            f"{path} is too large for a recording",
                            f"it unpacks to more than {MAX_TOTAL >> 30} GiB",
                        )
                    name = os.path.normpath("/" + member.name)
                    if member.isreg():
                        handle = tar.extractfile(member)
                        self._files[name] = handle.read(MAX_FILE + 1) if handle else b""
                    elif member.islnk():
                        links[name] = os.path.normpath("/" + member.linkname)
                    elif member.issym():
                        links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
                    if not member.isdir():
                        self._enter(name)
        except (tarfile.TarError, EOFError, ValueError, zlib.error, LZMAError) as exc:
            # A recorder that was killed leaves a truncated file. Its complete samples can be used.
            self.cut_off = any(name.endswith("/sample.json") for name in self._files)
            if not self.cut_off:
                raise ParseError(
                    f"{path} is not a tarball ({_first_line(exc) or 'empty'})",
                    "a recording is a folder or tarball with proc/ and sys/",
                ) from None
        for link, target in links.items():
            if target in self._files:
                self._files[link] = self._files[target]
        self._root = next(
            (
                root
                for root in ("", *("/" + d for d in self._dirs.get("/", ())))
                if f"{root}/sys" in self._dirs or f"{root}/proc" in self._dirs
            ),
            None,
        )
        if self._root is None:
            raise ParseError(f"{path} is not a recording", "it has neither proc/ nor sys/")
        self.name = self._root.strip("/") or path.name

    def _enter(self, name: str) -> None:
        while name != "/":
            parent, _, leaf = name.rpartition("/")
            entries = self._dirs.setdefault(parent or "/", {})
            if leaf in entries:
                return
            entries[leaf] = None
            name = parent or "/"

    def read(self, path: str) -> bytes:
        try:
            return self._files[f"{self._root}{os.path.normpath(path)}"]
        except KeyError:
            raise _enoent(path) from None

    def listdir(self, path: str) -> list[str]:
        full = f"{self._root}{os.path.normpath(path)}".rstrip("/") or "/"
        try:
            return list(self._dirs[full])
        except KeyError:
            raise _enoent(path) from None

    def below(self, path: str) -> Iterator[str]:
        top = f"{self._root}{os.path.normpath(path)}"
        yield from (name[len(top) :] for name in self._files if name.startswith(top + "/"))


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0].rstrip(": ")
