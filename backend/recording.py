"""A recorded machine: a folder or tarball with proc/ and sys/, as hwloc-gather-topology writes it. Read-only."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
import zlib
from array import array
from lzma import LZMAError
from pathlib import Path
from typing import Protocol

from backend.errors import NotFound, ParseError, os_error
from backend.kernel import Call, Capabilities, Capability, Source

MAX_FILE = 256 << 20
MAX_TOTAL = 2 << 30
MAX_FILES = 2_000_000
"""A tarball that unpacks to more than these is refused: nobody records that much."""

_READ_ONLY = Capability(False, "a recording can be looked at but not changed")


class _Tree(Protocol):
    name: str

    def read(self, path: str) -> bytes: ...

    def listdir(self, path: str) -> list[str]: ...


class RecordedKernel:
    """The kernel as it was when the tree was written."""

    source: Source = "replay"

    def __init__(self, path: str | Path) -> None:
        """Raises NotFound, ParseError: not there, not readable, or not a folder or tarball with proc/ and sys/."""
        path = Path(path)
        try:
            self._tree: _Tree = _Folder(path) if path.is_dir() else _Tarball(path)
        except OSError as exc:
            raise NotFound(
                f"the recording {path} cannot be read ({exc.strerror or exc})",
                "name a folder or tarball with proc/ and sys/",
            ) from None
        self.name = path.name
        self.reference = str(path)
        self.page_size = 4096

    def capabilities(self) -> Capabilities:
        calls: tuple[Call, ...] = (
            "migrate_pages", "move_pages", "move_all", "mbind", "set_mempolicy", "get_mempolicy", "write", "pidfd", "time",
        )  # fmt: skip
        return {"read": Capability(True), **dict.fromkeys(calls, _READ_ONLY)}

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        data = self._tree.read(path)
        return data[offset:] if size < 0 else data[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        return self._tree.listdir(path)

    def write(self, path: str, data: bytes) -> None:
        raise os_error(errno.EROFS)

    def username(self, uid: int) -> str:
        return str(uid)

    def clock(self) -> int:
        return 0

    def pause(self, nanoseconds: int) -> None:
        return

    def credentials(self) -> tuple[int, bool]:
        return 0, False

    def pidfd_open(self, pid: int) -> int:
        raise _enosys()

    def pidfd_alive(self, fd: int) -> bool:
        raise _enosys()

    def pidfd_close(self, fd: int) -> None:
        return

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        raise _enosys()

    def move_pages(
        self, pid: int, pages: array[int], nodes: array[int] | None, status: array[int], flags: int
    ) -> int:
        raise _enosys()

    def pagemap_scan(self, pid: int, start: int, end: int, count: int) -> tuple[int, bytes]:
        raise _enosys()

    def mbind(self, address: int, length: int, mode: int, mask: bytes, maxnode: int, flags: int) -> int:
        raise _enosys()

    def set_mempolicy(self, mode: int, mask: bytes, maxnode: int) -> int:
        raise _enosys()

    def get_mempolicy(self, maxnode: int, address: int, flags: int) -> tuple[int, bytes]:
        raise _enosys()


def _enosys() -> OSError:
    return os_error(errno.ENOSYS)


def _enoent(path: str) -> OSError:
    return os_error(errno.ENOENT, path)


class _Folder:
    """Files below `root`, never outside: links that lead out are not followed."""

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        inner = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.is_symlink())]
        found = next((p for p in inner if (p / "sys").is_dir() or (p / "proc").is_dir()), None)
        if found is None:
            raise ParseError(f"{root} is not a recording", "it has neither proc/ nor sys/")
        self.root = found.resolve()
        self.name = found.name

    def _resolve(self, path: str) -> Path:
        try:
            full = (self.root / path.lstrip("/")).resolve()
        except (OSError, RuntimeError) as exc:  # links in a circle: RuntimeError up to Python 3.12
            raise os_error(errno.ELOOP, path) from exc
        if full != self.root and self.root not in full.parents:
            raise _enoent(path)
        return full

    def read(self, path: str) -> bytes:
        full = self._resolve(path)
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


class _Tarball:
    """A tarball read whole into memory: nothing is unpacked to disk, so nothing in it can escape."""

    def __init__(self, path: Path) -> None:
        self._files: dict[str, bytes] = {}
        self._dirs: dict[str, dict[str, None]] = {}
        links: dict[str, str] = {}
        total = count = 0
        try:
            with tarfile.open(path, "r:*") as tar:
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
            raise ParseError(
                f"{path} is not a tarball ({str(exc).splitlines()[0] if str(exc) else 'empty'})",
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
