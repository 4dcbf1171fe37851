"""Filesystems: what each can do for migration and writeback (fs/*/inode.c: struct address_space_operations), and their
files."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import simpy
from numpy.typing import NDArray

from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mmap_lock import MmapLock
from backend.emulator.storage.block_device import BlockDevice
from backend.errors import os_error

MAX_PAGES = 1 << 26
"""Of a file."""
T = TypeVar("T", bound=np.generic)
MigratePage = Literal["buffer", "page", "none"]


@dataclass(frozen=True, slots=True)
class FilesystemType:
    """The operations. `migratepage`: buffer_migrate_page, migrate_page, or no method of its own. `buffers`: dirty pages
    have buffers. `releases`: try_to_release_page() gets rid of them once the page is clean. `ordered`: a journal writes
    the buffers itself on fsync: they are locked meanwhile, while the page is not under writeback. `swap_backed`: there
    is no device, pages go to swap."""

    name: str
    migratepage: MigratePage
    buffers: bool = True
    releases: bool = True
    ordered: bool = False
    swap_backed: bool = False


_BLOCK: tuple[FilesystemType, ...] = (
    FilesystemType("ext2", "buffer"),
    FilesystemType("ext3", "buffer", ordered=True),
    FilesystemType("xfs", "buffer"),
)
TYPES_2_6: dict[str, FilesystemType] = {
    kind.name: kind
    for kind in (
        *_BLOCK,
        FilesystemType("nfs", "none"),
        FilesystemType("tmpfs", "none", buffers=False, swap_backed=True),
    )
}
"""Direct Migration V8 (patch 5): ext2, ext3 and xfs have a method; tmpfs pages move once they are in the swap cache."""
TYPES_6: dict[str, FilesystemType] = {
    kind.name: kind
    for kind in (
        *_BLOCK,
        FilesystemType("ext4", "buffer", ordered=True),
        FilesystemType("nfs", "page", buffers=False),
        FilesystemType("tmpfs", "page", buffers=False, swap_backed=True),
    )
}


@dataclass(eq=False, slots=True)
class Filesystem:
    """One that is mounted. `write`, `read`: seconds a page on its device. `nr_written`: pages written since the
    start."""

    name: str
    type: FilesystemType
    write: float
    read: float
    device: BlockDevice = field(default_factory=BlockDevice)
    files: dict[str, AddressSpace] = field(default_factory=dict[str, "AddressSpace"])
    nr_written: int = 0


@dataclass(eq=False, slots=True)
class AddressSpace:
    """A file's pages (struct address_space). `id`: negative, what frames have as their mapping. One element a page:
    `pages` the frame in the page cache or -1; `dirty` the tag of the radix tree; `swapped` the swap entry that shared
    memory has instead of a frame, or -1; `device` what is on the device. `policies`: of shared memory, by page (a
    number into `policy_list`, 0 for none). `i_sem`: held for writing by who changes its size. `mappings`: VMAs that map
    it. `writes`: requests that its device still works on. `expected`, where a test keeps it: what was last written."""

    id: int
    path: str
    fs: Filesystem
    pages: NDArray[np.int32]
    dirty: NDArray[np.bool_]
    swapped: NDArray[np.int32]
    device: NDArray[np.uint64]
    i_size: int
    i_sem: MmapLock = field(default_factory=MmapLock)
    policies: NDArray[np.int32] | None = None
    policy_list: list[Mempolicy | None] = field(default_factory=lambda: [None])
    mappings: int = 0
    unlinked: bool = False
    expected: NDArray[np.uint64] | None = None
    writes: list[simpy.Process] = field(default_factory=list[simpy.Process])

    @property
    def size(self) -> int:
        """Pages. While a truncate is at work the arrays are longer still."""
        return self.i_size

    @property
    def swap_backed(self) -> bool:
        return self.fs.type.swap_backed

    def resize(self, size: int) -> None:
        """Shorter or longer; the caller has emptied what goes. New pages are holes: zeros. OSError EFBIG."""
        if size > MAX_PAGES:
            raise os_error(errno.EFBIG)
        self.i_size = size
        self.pages, self.swapped = _fit(self.pages, size, -1), _fit(self.swapped, size, -1)
        self.dirty, self.device = _fit(self.dirty, size, 0), _fit(self.device, size, 0)
        if self.policies is not None:
            self.policies = _fit(self.policies, size, 0)
        if self.expected is not None:
            self.expected = _fit(self.expected, size, 0)

    def policy(self, index: int) -> Mempolicy | None:
        """The policy of shared memory at a page (mpol_shared_policy_lookup())."""
        if self.policies is None or not 0 <= index < len(self.policies):
            return None
        return self.policy_list[int(self.policies[index])]

    def set_policy(self, first: int, count: int, policy: Mempolicy | None) -> None:
        """mpol_set_shared_policy()."""
        if self.policies is None:
            self.policies = np.zeros(self.size, np.int32)
        if policy not in self.policy_list:
            self.policy_list.append(policy)
        self.policies[first : first + count] = self.policy_list.index(policy)


def _fit(array: NDArray[T], size: int, fill: int) -> NDArray[T]:
    out = np.full(size, fill, array.dtype)
    keep = min(size, len(array))
    out[:keep] = array[:keep]
    return out
