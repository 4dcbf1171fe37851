"""A far kernel of which many files were read in one go: they are answered from there, everything else is asked."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from re import Pattern, compile
from typing import Any

from backend.errors import os_error


class Ahead:
    """`files`: contents by path, or an errno. `patterns`: of which nothing else is there. For one reading: what it
    answers grows old."""

    def __init__(self, kernel: Any, files: Mapping[str, bytes | int], patterns: Sequence[str]) -> None:
        self._kernel, self._files = kernel, files
        self._patterns = tuple(patterns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        known = self._files.get(path)
        if known is None:
            if self._absent(path):
                raise os_error(errno.ENOENT, path)
            return self._kernel.read(path, offset, size)
        if known == errno.EAGAIN:
            return self._kernel.read(path, offset, size)
        if isinstance(known, int):
            raise os_error(known, path)
        return known[offset:] if size < 0 else known[offset : offset + size]

    def _absent(self, path: str) -> bool:
        """Whether it would have been read if it were there. A pattern's star reaches over no slash."""
        parts = path.split("/")
        return any(
            len(parts) == len(one) and all(p.match(w) for p, w in zip(one, parts, strict=True))
            for one in self._compiled()
        )

    def _compiled(self) -> tuple[tuple[Pattern[str], ...], ...]:
        return _compiled(self._patterns)


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[tuple[Pattern[str], ...], ...]:
    return tuple(tuple(compile(translate(part)) for part in pattern.split("/")) for pattern in patterns)
