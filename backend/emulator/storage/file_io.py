"""File system calls: create, read, write, fsync, msync, unlink (mm/filemap.c, fs/read_write.c, fs/sync.c,
mm/msync.c)."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.file_fault import make_dirty
from backend.emulator.mm.mm import Indices
from backend.emulator.mm.placing import OutOfMemory, alloc_by_policy, room_for
from backend.emulator.storage.filesystem import AddressSpace, Filesystem, FilesystemType
from backend.emulator.storage.page_cache import add, lock_page, truncate, unlock_put
from backend.emulator.storage.writeback import transfer_dirty, write_dirty
from backend.emulator.tasks.task import Task, Thread
from backend.errors import os_error


def mount(
    m: Machine, name: str, kind: FilesystemType, write: float | None = None, read: float | None = None
) -> Filesystem:
    """Mount an empty filesystem. `write`, `read`: seconds per page on its device; None takes the machine's costs."""
    fs = Filesystem(
        name,
        kind,
        m.costs.file_write if write is None else write,
        m.costs.file_read if read is None else read,
    )
    m.filesystems[name] = fs
    return fs


def create(m: Machine, fs: Filesystem, path: str, pages: int, unlinked: bool = False) -> AddressSpace:
    """Create a file of `pages` pages, none of them in memory. Each page has unique contents on the device; shared
    memory starts with zeros."""
    device = np.zeros(pages, np.uint64) if fs.type.swap_backed else m.new_values(pages)
    space = AddressSpace(
        id=-m.rmap.new(), path=path, fs=fs, pages=np.full(pages, -1, np.int32), dirty=np.zeros(pages, np.bool_),
        swapped=np.full(pages, -1, np.int32), device=device, i_size=pages, unlinked=unlinked,
    )  # fmt: skip
    if m.watch:
        space.expected = device.copy()
    m.rmap.spaces[space.id] = space
    if not unlinked:
        fs.files[path] = space
    return space


def fill(m: Machine, space: AddressSpace, index: Indices, pfns: Pfns, dirty: bool = False) -> None:
    """Put new frames into the page cache as pages read (`dirty`: written) in the past. The caller hands over its
    references."""
    add(m, space, index, pfns)
    m.frames.flags[pfns] |= PG.UPTODATE
    m.frames.contents[pfns] = space.device[index]
    m.frames.put(pfns)
    if dirty:
        m.frames.contents[pfns] = m.new_values(len(index))
        if space.expected is not None:
            space.expected[index] = m.frames.contents[pfns]
        make_dirty(m, space, pfns)


def read(m: Machine, task: Task, thread: Thread, space: AddressSpace, index: Indices) -> Events:
    """read(2): read pages into the page cache, on nodes by policy. Returns the number read; it is short at the end of
    the file."""
    count = 0
    for page in index.tolist():
        pfn: int = yield from _locked(m, task, thread, space, page, fill=True)
        if pfn < 0:
            break
        m.frames.flags[pfn] |= PG.REFERENCED
        unlock_put(m, pfn)
        count += 1
    return count


def write(m: Machine, task: Task, thread: Thread, space: AddressSpace, index: Indices) -> Events:
    """write(2) of whole pages: they are dirty in the page cache until writeback. The file grows if needed. Returns the
    number written. Raises OSError EFBIG."""
    end = int(index[-1]) + 1
    # Checked again with i_sem held: another writer may have grown the file meanwhile.
    if end > space.size:
        yield from space.i_sem.down_write(m.env)
        try:
            if end > space.size:
                space.resize(end)
        finally:
            space.i_sem.up_write()
    count = 0
    for page in index.tolist():
        pfn: int = yield from _locked(m, task, thread, space, page, fill=False)
        if pfn < 0:
            break
        m.frames.contents[pfn] = m.new_values(1)[0]
        if space.expected is not None:
            space.expected[page] = m.frames.contents[pfn]
        make_dirty(m, space, np.array([pfn], np.int32))
        unlock_put(m, pfn)
        count += 1
    return count


def _locked(m: Machine, task: Task, thread: Thread, space: AddressSpace, page: int, fill: bool) -> Events:
    def allocate() -> Events:
        own = space.policy(page)
        yield from room_for(m, task, own or task.policy, 1)
        here = m.node_of_cpu.get(thread.cpu, m.first_node)
        got = alloc_by_policy(m, task, thread, own or task.policy, np.array([page]), here, by_offset=space.swap_backed)
        if task.mm is not None:
            m.frames.cgroup[got] = task.mm.cgroup
        m.reclaim.after_alloc()
        return got

    try:
        return (yield from lock_page(m, space, page, allocate, fill, thread.cpu))
    except OSError:
        m.reclaim.oom_kill(task)
        raise OutOfMemory(f"{task.pid}: no frame left for a page of a file") from None


def fsync(m: Machine, space: AddressSpace) -> Events:
    """fsync(2): write all dirty pages to the device, through the journal if there is one, and wait. Returns 0."""
    yield from write_dirty(m, space, wait=True, journal=True)
    return 0


def msync(m: Machine, task: Task, start: int, index: Indices, wait: bool) -> Events:
    """msync(2) of pages counted from `start`. Dirty bits of shared mappings move to the page cache (MS_ASYNC). `wait`:
    the pages are also written to the device (MS_SYNC). Returns 0. Raises OSError ENOMEM if part of the range is
    unmapped, ESRCH if the task has exited."""
    mm = task.mm
    if mm is None or not task.alive:
        raise os_error(errno.ESRCH)
    yield from mm.lock.down_read(m.env)
    try:
        yield from m.step("msync", m.costs.syscall)
        parts = list(mm.spans(start, index))
        if sum(len(local) for _, local in parts) < len(index):
            raise os_error(errno.ENOMEM)
        files: dict[int, AddressSpace] = {}
        for vma, local in parts:
            if vma.file is not None and vma.shared:
                transfer_dirty(m, vma, local)
                files[vma.file.id] = vma.file
    finally:
        mm.lock.up_read()
    for space in files.values() if wait else ():
        yield from write_dirty(m, space, wait=True)
    return 0


def unlink(m: Machine, space: AddressSpace, cpu: int | None = None) -> Events:
    """unlink(2) on `cpu`: remove the name. The file is deleted when no VMA maps it. Returns 0. Raises OSError ENOENT if
    it has no name."""
    if space.unlinked:
        raise os_error(errno.ENOENT)
    space.unlinked = True
    space.fs.files.pop(space.path, None)
    yield from m.step("unlink", m.costs.syscall)
    if not space.mappings:
        yield from evict(m, space, cpu)
    return 0


def evict(m: Machine, space: AddressSpace, cpu: int | None) -> Events:
    """Delete an unlinked file that no VMA maps (generic_delete_inode())."""
    yield from truncate(m, space, 0, cpu)
    # truncate() can sleep: the file may have been mapped meanwhile.
    if not space.mappings:
        m.rmap.spaces.pop(space.id, None)
