"""Files and shared memory of small machines, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.storage.file_io import create, fill, mount
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.tasks.task import Task


def file(
    m: Machine,
    kind: str = "ext3",
    pages: int = 16,
    on: dict[int, int] | None = None,
    dirty: bool = False,
    path: str = "",
) -> AddressSpace:
    """A file whose contents are watched, with so many of its pages in the cache of each node."""
    fs = m.filesystems.get(kind) or mount(m, kind, m.profile.filesystem_types[kind])
    space = create(m, fs, path or f"/{kind}/file{len(m.rmap.spaces)}", pages)
    space.expected = space.device.copy()
    position = 0
    for node, count in (on or {}).items():
        pfns = m.frames.alloc(count, node, strict=True, here=node)
        assert len(pfns) == count
        fill(m, space, np.arange(position, position + count, dtype=np.int64), pfns, dirty)
        position += count
    return space


def mapped(m: Machine, task: Task, space: AddressSpace, shared: bool = True, **options: Any) -> Vma:
    """A mapping of all of a file, untouched."""
    flags = VM.WRITE | (VM.SHARED if shared else VM(0)) | options.pop("flags", VM(0))
    vma = mmap(m, task, space.size, kind="file", file=space, flags=flags, **options)
    vma.expected = np.zeros(vma.pages, np.uint64)
    return vma


def shared_memory(m: Machine, pages: int = 16) -> AddressSpace:
    """A shared anonymous object (/dev/zero), watched."""
    space = create(m, m.shm, "/dev/zero", pages, unlinked=True)
    space.expected = np.zeros(pages, np.uint64)
    return space
