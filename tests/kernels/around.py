"""A kernel around another one: what a test names is refused or answered otherwise, the rest passes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from backend.kernel import Call, Capabilities, Kernel, Numbers


class Around:
    """`refused`: errno by the name of a call, a path, or the last part of a path. `answers`: what a file's bytes
    become, by path or last part. `seen`: every path that was read. Other keywords replace attributes, like `traits`.

    A test that needs more overrides a call in a class of its own.
    """

    def __init__(self, kernel: Kernel, refused: dict[str, int] | None = None, **instead: Any) -> None:
        self.inner: Any = kernel
        self.refused = {} if refused is None else refused
        self.answers: dict[str, Callable[[bytes], bytes]] = {}
        self.seen: list[str] = []
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def count(self, pid: int, name: str) -> int:
        """How often a file of that process was read."""
        return self.seen.count(f"/proc/{pid}/{name}")

    def capabilities(self) -> Capabilities:
        return self.inner.capabilities()

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self.seen.append(path)
        last = path.rpartition("/")[2]
        self._refuse("read", path, last)
        answer = self.answers.get(path) or self.answers.get(last)
        if answer is None:
            return self.inner.read(path, offset, size)
        data = answer(self.inner.read(path))
        return data[offset:] if size < 0 else data[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        self._refuse("listdir", path)
        return self.inner.listdir(path)

    def file_id(self, path: str) -> tuple[int, int]:
        self._refuse("file_id", path)
        return self.inner.file_id(path)

    def write(self, path: str, data: bytes) -> None:
        self._refuse("write", path)
        self.inner.write(path, data)

    def migrate_pages(self, pid: int, maxnode: int, old: bytes, new: bytes) -> int:
        self._refuse("migrate_pages")
        return self.inner.migrate_pages(pid, maxnode, old, new)

    def move_pages(self, pid: int, pages: Numbers, nodes: Numbers | None, status: Numbers, flags: int) -> int:
        self._refuse("move_pages")
        return self.inner.move_pages(pid, pages, nodes, status, flags)

    def _refuse(self, *names: Call | str) -> None:
        for name in names:
            if number := self.refused.get(name, 0):
                raise OSError(number, os.strerror(number), *names[1:2])
