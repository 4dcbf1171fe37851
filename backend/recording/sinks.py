"""Where a recording is written: a tarball, compressed or not, or a folder. It is private to its writer and never
replaces anything."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from pathlib import Path
from typing import IO, Protocol

from backend.errors import NumatuiError, UsageError
from backend.files.free_space import LITTLE, free_space
from backend.files.new_file import NewFolder, open_new


class Sink(Protocol):
    """`put`: writes one file, once. `flush`: what was put survives the end of this process. `written`: bytes on disk so
    far."""

    def put(self, path: str, data: bytes) -> None: ...

    def flush(self) -> None: ...

    @property
    def written(self) -> int: ...

    def close(self) -> None: ...


def open_sink(path: Path, name: str) -> Sink:
    """The suffix selects the format: .tar.gz, .tgz, .tar; none for a folder. `name`: the folder in the tarball. Raises
    UsageError if the path exists already, and for suffixes of other formats; NumatuiError if its disk is full;
    NotFound, OSError."""
    ending = "".join(path.suffixes[-2:]).lower()
    free = free_space(path)
    if free < LITTLE:
        raise NumatuiError(
            f"{path} cannot be written: its disk has only {free}B free", "make room there, or choose another folder"
        )
    if ending.endswith((".tar.gz", ".tgz")):
        return _Tarball(path, name, compress=True)
    if ending.endswith(".tar"):
        return _Tarball(path, name, compress=False)
    if ending.endswith((".bz2", ".xz", ".zip", ".zst", ".gz", ".txz", ".tbz", ".json", ".csv")):
        raise UsageError(
            f"a recording cannot be written as {path.suffix}",
            "name it .tar.gz or .tar, or a folder without an ending",
        )
    return Folder(path)


class Folder:
    """Raises what NewFolder raises."""

    def __init__(self, path: Path) -> None:
        self._folder = NewFolder(path)
        self.written = 0

    def put(self, path: str, data: bytes) -> None:
        self._folder.write(path.lstrip("/"), data)
        self.written += len(data)

    def flush(self) -> None:
        return

    def close(self) -> None:
        self._folder.close()


class _Tarball:
    """Written sequentially. Everything before a `flush` stays readable, whatever happens later."""

    def __init__(self, path: Path, name: str, compress: bool) -> None:
        self._raw: IO[bytes] = os.fdopen(open_new(path), "wb")
        self._gzip = gzip.GzipFile("", "wb", 6, self._raw) if compress else None
        self._tar = tarfile.open(fileobj=self._gzip or self._raw, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._name = name
        self._end = 0
        self._time = int(time.time())

    def put(self, path: str, data: bytes) -> None:
        info = tarfile.TarInfo(f"{self._name}/{path.lstrip('/')}")
        info.size, info.mode, info.mtime = len(data), 0o600, self._time
        self._tar.addfile(info, io.BytesIO(data))

    def flush(self) -> None:
        if self._gzip is not None:
            self._gzip.flush()
        self._raw.flush()

    @property
    def written(self) -> int:
        return self._end if self._raw.closed else self._raw.tell()

    def close(self) -> None:
        """Closes all three even if the disk is full: an open one would complain when it is collected."""
        failed: Exception | None = None
        for one in (self._tar, self._gzip, self._raw):
            try:
                if one is self._raw:
                    self._end = self._raw.tell()
                if one is not None:
                    one.close()
            except (OSError, ValueError) as exc:
                failed = failed or exc
        if failed is not None:
            raise failed
