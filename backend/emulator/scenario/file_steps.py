"""File steps: read, write, sync, truncate, unlink."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backend.emulator.frames.page_lock import Events
from backend.emulator.mm.mm import Indices
from backend.emulator.scenario.layout import find_file
from backend.emulator.scenario.step import Action, Pages, StepContext
from backend.emulator.storage import file_io
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.storage.page_cache import truncate
from backend.errors import os_error

MAX_IO = 1 << 20
"""Pages of a file that one step reads or writes at most."""


def _file(at: StepContext, path: str) -> AddressSpace:
    """The file at a path `filesystem/name`. Raises OSError ENOENT."""
    space = find_file(at.machine, path)
    if space is None:
        raise os_error(errno.ENOENT)
    return space


def _index(space: AddressSpace, pages: Pages | None) -> Indices:
    first, last = pages or (0, min(space.size, MAX_IO) - 1)
    return np.arange(first, last + 1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Read(Action):
    """read(2) of whole pages."""

    file: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        space = _file(at, self.file)
        return (yield from file_io.read(at.machine, at.task, at.task.leader, space, _index(space, self.pages)))


@dataclass(frozen=True, slots=True)
class Write(Action):
    """write(2) of whole pages."""

    file: str
    pages: Pages | None = None

    def run(self, at: StepContext) -> Events:
        space = _file(at, self.file)
        index = _index(space, self.pages)
        if not len(index):
            return 0
        return (yield from file_io.write(at.machine, at.task, at.task.leader, space, index))


@dataclass(frozen=True, slots=True)
class Fsync(Action):
    """fsync(2)."""

    of_task: ClassVar[bool] = False
    file: str

    def run(self, at: StepContext) -> Events:
        return (yield from file_io.fsync(at.machine, _file(at, self.file)))


@dataclass(frozen=True, slots=True)
class Msync(Action):
    """msync(2) with MS_SYNC, or with MS_ASYNC if `wait` is false."""

    region: str
    pages: Pages | None = None
    wait: bool = True

    def run(self, at: StepContext) -> Events:
        return (yield from file_io.msync(at.machine, at.task, at.region.start, at.index(self.pages), self.wait))


@dataclass(frozen=True, slots=True)
class Truncate(Action):
    """ftruncate(2) to `size` bytes."""

    of_task: ClassVar[bool] = False
    file: str
    size: int

    def run(self, at: StepContext) -> Events:
        pages = -(-self.size // at.machine.page_size)
        return (yield from truncate(at.machine, _file(at, self.file), pages, at.task.leader.cpu))


@dataclass(frozen=True, slots=True)
class Unlink(Action):
    """unlink(2)."""

    of_task: ClassVar[bool] = False
    file: str

    def run(self, at: StepContext) -> Events:
        return (yield from file_io.unlink(at.machine, _file(at, self.file), at.task.leader.cpu))
