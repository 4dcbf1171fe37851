"""A far kernel of which many files were read in one go: they are answered from there, everything else is asked."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any

from backend.errors import os_error

_MOST_LEARNED = 20_000
_HELD_UP = re.compile(r"/(?:maps|numa_maps|smaps|smaps_rollup|pagemap|cmdline|environ)$")
"""Files whose reading holds a process up: never read unless they are asked for."""


class Ahead:
    """`files`: contents by path, or an errno; of a folder, under its path and a slash, its names. `patterns`: what was
    asked for; of these, nothing else is there. `again`: what was read ahead because it was asked for the last time.
    `learned`: gets what is to be read ahead the next time. `complete`: nothing was left out. For one reading: what it
    answers grows old. Thread-safe."""

    def __init__(
        self,
        behind: Any,
        files: Mapping[str, bytes | int],
        patterns: Sequence[str],
        again: Sequence[str] = (),
        learned: set[str] | None = None,
        complete: bool = True,
    ) -> None:
        self._behind, self._files = behind, files
        self._learned: set[str] = set() if learned is None else learned
        self._complete = complete
        self._patterns, self._again = frozenset(patterns), frozenset(again)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def read_ahead(self, name: str, patterns: Sequence[str]) -> Any:
        """Itself, if all of it was read already."""
        return self if self._patterns.issuperset(patterns) else self._behind.read_ahead_of(self, name, patterns)

    def read_ahead_of(self, behind: Any, name: str, patterns: Sequence[str]) -> Any:
        return self._behind.read_ahead_of(behind, name, patterns)

    def read_entries(self, path: str, numbers: Sequence[int]) -> Any:
        return self._behind.read_entries(path, numbers)

    def read_resting(self, path: str, offset: int, size: int, rest: int) -> bytes:
        return self._behind.read_resting(path, offset, size, rest)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        known = self._known(path)
        if known is None:
            return self._behind.read(path, offset, size)
        return known[offset:] if size < 0 else known[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        known = self._known(path.rstrip("/") + "/")
        if known is None:
            return self._behind.listdir(path)
        return known.decode("utf-8", "surrogateescape").split("\0") if known else []

    def _known(self, path: str) -> bytes | None:
        """None: it has to be asked. Raises OSError if it could not be read."""
        known = self._files.get(path)
        if path in self._again:
            self._learned.add(path)
        if isinstance(known, int) and known != errno.EAGAIN:
            raise os_error(known, path)
        if known is not None:
            return known if isinstance(known, bytes) else None
        if self._complete and self._matched(path):
            raise os_error(errno.ENOENT, path)
        if not _HELD_UP.search(path) and len(self._learned) < _MOST_LEARNED:
            self._learned.add(path)
        return None

    def _matched(self, path: str) -> bool:
        """Whether it would have been read if it were there."""
        if path in self._patterns:
            return True
        parts = path.split("/")
        # A star reaches over no slash.
        return any(
            all(pattern.match(part) for pattern, part in zip(one, parts, strict=True))
            for one in _compiled(self._patterns).get(len(parts), ())
        )


@lru_cache(maxsize=16)
def _compiled(patterns: frozenset[str]) -> dict[int, list[list[re.Pattern[str]]]]:
    """Those with a star or the like, by their number of parts."""
    out: dict[int, list[list[re.Pattern[str]]]] = {}
    for pattern in patterns:
        if set(pattern) & set("*?["):
            parts = pattern.split("/")
            out.setdefault(len(parts), []).append([re.compile(translate(part)) for part in parts])
    return out
