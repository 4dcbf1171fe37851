"""The files of a recording at each of its samples. A sample holds only what changed since the one before."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from backend.errors import ParseError, os_error
from backend.recording.manifest import MAX_SAMPLES, SAMPLES, Sample, parse_sample
from backend.recording.trees import Tree

# Before all samples: written in the first one only, or never gone.
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Events:
    """Processes that began and ended since the sample before."""

    began: int = 0
    ended: int = 0


class Timeline:
    """`events`: one per sample. `samples`: in the order in which they were taken; a recording by another tool has one.
    Raises ParseError.

    A path exists at a sample if it, or something below it, was written in or after the last sample in which it (or a
    folder above it) vanished."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.samples = _samples(tree) or (Sample(0, 0.0),)
        self._written: dict[str, list[int]] = {}
        self._gone: dict[str, list[int]] = {}
        self._names: dict[str, set[str]] = {}
        self.events: list[Events] = [Events()]
        alive = {name for name in self._at_first("/proc") if name.isdigit()}
        for number, sample in enumerate(self.samples[1:], 1):
            # 6: the length of /proc/.
            ended = {path[6:] for path in sample.gone if path.startswith("/proc/") and path[6:].isdigit()}
            alive -= ended
            for path in sample.gone:
                self._gone.setdefault(path, []).append(number)
            began: set[str] = set()
            for path in tree.below(f"{SAMPLES}/{sample.folder}/files"):
                self._enter(path, number)
                if path.endswith("/stat") and path.count("/") == 3 and path[6:-5].isdigit():
                    began.add(path[6:-5])
            began -= alive
            alive |= began
            self.events.append(Events(len(began), len(ended)))

    def _enter(self, path: str, number: int) -> None:
        while path:
            numbers = self._written.setdefault(path, [])
            if numbers and numbers[-1] == number:
                return
            numbers.append(number)
            above, _, name = path.rpartition("/")
            self._names.setdefault(above, set()).add(name)
            path = above

    def read(self, path: str, number: int) -> bytes:
        """A file at a sample. OSError ENOENT."""
        path = os.path.normpath(path)
        written = _last(self._written.get(path), number)
        if written < self._last_gone(path, number):
            raise os_error(errno.ENOENT, path)
        if written == _NEVER:
            return self._tree.read(path)
        return self._tree.read(f"{SAMPLES}/{self.samples[written].folder}/files{path}")

    def listdir(self, path: str, number: int) -> list[str]:
        """The names in a folder at a sample. OSError ENOENT; ENOTDIR for a file."""
        path = os.path.normpath(path)
        if not self._written and not self._gone:
            return self._tree.listdir(path)
        gone = self._last_gone(path, number)
        names = list(self._at_first(path))
        there = set(names)
        names += [name for name in self._names.get(path, ()) if name not in there]
        if not names:
            # Folders are recorded with the files in them only.
            written = _last(self._written.get(path), number) != _NEVER
            raise os_error(errno.ENOTDIR if written else errno.ENOENT, path)
        found = [name for name in names if self._is_there(f"{path.rstrip('/')}/{name}", number, gone, name in there)]
        if not found and gone > _last(self._written.get(path), number):
            raise os_error(errno.ENOENT, path)
        return found

    def _is_there(self, path: str, number: int, gone_above: int, at_first: bool) -> bool:
        written = _last(self._written.get(path), number)
        if written == _NEVER and not at_first:
            return False
        return written >= max(gone_above, _last(self._gone.get(path), number))

    def _at_first(self, path: str) -> list[str]:
        try:
            return self._tree.listdir(path)
        except OSError:
            return []

    def _last_gone(self, path: str, number: int) -> int:
        """The last sample in which the path, or a folder above it, vanished."""
        latest = _NEVER
        while self._gone and path not in ("", "/"):
            latest = max(latest, _last(self._gone.get(path), number))
            path = path.rpartition("/")[0]
        return latest


def _last(numbers: list[int] | None, number: int) -> int:
    """The last of the ascending `numbers` that is not after `number`."""
    at = bisect_right(numbers, number) if numbers else 0
    return numbers[at - 1] if numbers and at else _NEVER


def _samples(tree: Tree) -> tuple[Sample, ...]:
    try:
        folders = sorted(name for name in tree.listdir(SAMPLES) if name.isascii() and name.isdigit())
    except OSError:
        return ()
    if len(folders) > MAX_SAMPLES:
        raise ParseError(f"the recording has more than {MAX_SAMPLES} samples", "")
    out = tuple(_whole(tree, folders))
    if any(later.at < earlier.at for earlier, later in pairwise(out)):
        raise ParseError("the samples of the recording are not in time order", "it is damaged")
    return out


def _whole(tree: Tree, folders: list[str]) -> Iterator[Sample]:
    """The samples before the first incomplete one."""
    for folder in folders:
        try:
            raw = tree.read(f"{SAMPLES}/{folder}/sample.json")
        except OSError:
            return
        yield parse_sample(raw, folder)
