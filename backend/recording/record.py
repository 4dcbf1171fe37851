"""Records a machine: all its files first, then repeatedly those that changed."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from backend.kernel import Kernel
from backend.recording.anonymise import Anonymiser
from backend.recording.contents import files, hierarchies, lasting_files
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

    def take(self) -> Taken:
        """Records the machine as it is now. Raises NumatuiError, OSError (from the kernel if /proc cannot be listed,
        and from the sink)."""
        now, wall, first = self.kernel.clock(), time.time(), self.number == 0
        folder = f"{SAMPLES}/{self.number:06}"
        if first:
            self.sink.put(MANIFEST, self._manifest().to_json())
            for path, data in self._renamed(lasting_files(self.kernel)):
                self.sink.put(path, data)
        seen: dict[str, bytes] = {}
        users: dict[str, str] = {}
        changed = size = 0
        for path, data in self._renamed(files(self.kernel)):
            if path in seen:
                continue
            mark = seen[path] = blake2b(data, digest_size=16).digest()
            if self._seen.get(path) == mark:
                continue
            self.sink.put(path if first else f"{folder}/files{path}", data)
            changed += 1
            size += len(data)
            if path.endswith("/status"):
                users |= self._new_user(data)
        gone = tuple(_topmost(self._seen.keys() - seen.keys(), seen))
        self.sink.put(f"{folder}/sample.json", Sample(now - self._began, wall, gone, users).to_json())
        self.sink.flush()
        self._seen = seen
        self.number += 1
        return Taken(self.number - 1, changed, size, len(gone), sum(map(_is_process, seen)))

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
