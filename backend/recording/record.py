"""Records a machine: all its files first, then repeatedly those that changed."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from backend.errors import NumatuiError
from backend.kernel import Kernel
from backend.recording.anonymise import Anonymiser
from backend.recording.contents import files, hierarchies, lasting_files
from backend.recording.limits import MAX_BYTES, MAX_HEADERS, MAX_MEMBERS, MIB
from backend.recording.manifest import MANIFEST, SAMPLES, Manifest, Sample
from backend.recording.sinks import Sink

_UID = re.compile(rb"^Uid:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample that was written. `files`: number of files that changed. `bytes`: their size before compression. `gone`:
    number of paths that vanished. `processes`: their number."""

    number: int
    files: int
    bytes: int
    gone: int
    processes: int


class Full(NumatuiError):
    """The sample would make the recording larger than one that can be read. Nothing of it was written."""


class Recorder:
    """Each `take` records one sample. `interval`: seconds between samples, for the manifest."""

    def __init__(self, kernel: Kernel, sink: Sink, interval: float = 0.0, anonymise: bool = False) -> None:
        self.kernel, self.sink = kernel, sink
        self.number = 0
        self._anonymiser = Anonymiser(hierarchies(kernel)) if anonymise else None
        self._seen: dict[str, bytes] = {}
        self._users: set[int] = set()
        self._interval = interval
        self._began = kernel.clock()
        self._bytes = self._members = self._headers = 0

    def take(self) -> Taken:
        """Records the machine as it is now. Raises Full, NumatuiError, OSError (from the kernel if /proc cannot be
        listed, and from the sink)."""
        now, wall, first = self.kernel.clock(), time.time(), self.number == 0
        folder = f"{SAMPLES}/{self.number:06}"
        new: list[tuple[str, bytes]] = []
        if first:
            new += [(MANIFEST, self._manifest().to_json()), *self._renamed(lasting_files(self.kernel))]
        seen: dict[str, bytes] = {}
        users: dict[str, str] = {}
        changed = size = 0
        for path, data in self._renamed(files(self.kernel)):
            if path in seen:
                continue
            mark = seen[path] = blake2b(data, digest_size=16).digest()
            if self._seen.get(path) == mark:
                continue
            new.append((path if first else f"{folder}/files{path}", data))
            changed += 1
            size += len(data)
            if path.endswith("/status"):
                users |= self._new_user(data)
        gone = tuple(_topmost(self._seen.keys() - seen.keys(), seen))
        new.append((f"{folder}/sample.json", Sample(now - self._began, wall, gone, users).to_json()))
        self._take_room(new)
        for path, data in new:
            self.sink.put(path, data)
        self.sink.flush()
        self._seen = seen
        self.number += 1
        return Taken(self.number - 1, changed, size, len(gone), sum(map(_is_process, seen)))

    def _take_room(self, new: list[tuple[str, bytes]]) -> None:
        self._members += len(new)
        # In a tarball, a file has a header, one more for a long name, and is filled up.
        long = sum(len(path) > 60 for path, _ in new)
        self._headers += len(new) + long
        self._bytes += sum(len(data) for _, data in new) + 1024 * (len(new) + long)
        if self._members > MAX_MEMBERS or self._headers > MAX_HEADERS or self._bytes > MAX_BYTES:
            raise Full(
                f"a recording has at most {MAX_MEMBERS} files of {MAX_BYTES // MIB} MiB, unpacked",
                "record for a shorter time, or with a longer --interval",
            )

    def _renamed(self, found: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        if self._anonymiser is None:
            yield from found
            return
        for path, data in found:
            renamed = self._anonymiser.file(path, data)
            if renamed is not None:
                yield renamed

    def _manifest(self) -> Manifest:
        kernel, hidden = self.kernel, self._anonymiser is not None
        return Manifest("" if hidden else kernel.name, kernel.source, kernel.page_size, self._interval, hidden)

    def _new_user(self, status: bytes) -> dict[str, str]:
        found = _UID.search(status)
        if found is None or self._anonymiser is not None or int(found[1]) in self._users:
            return {}
        uid = int(found[1])
        self._users.add(uid)
        return {str(uid): self.kernel.username(uid)}


def _is_process(path: str) -> bool:
    return path.startswith("/proc/") and path.endswith("/stat") and path.count("/") == 3


def _topmost(vanished: Collection[str], there: Collection[str]) -> Iterator[str]:
    """The shortest paths that cover all vanished ones: a folder with nothing left in it stands for its files."""
    kept: set[str] = {""}
    for path in there:
        while (path := path.rpartition("/")[0]) not in kept:
            kept.add(path)
    out: set[str] = set()
    for path in vanished:
        while (above := path.rpartition("/")[0]) not in kept:
            path = above
        out.add(path)
    yield from sorted(out)
