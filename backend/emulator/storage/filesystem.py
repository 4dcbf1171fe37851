"""Filesystems with their operations for migration and writeback (fs/*/inode.c, struct address_space_operations), and
their files."""

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
"""Largest file, in pages. An AddressSpace takes at least 17 bytes a page, here 1.1 GB."""
T = TypeVar("T", bound=np.generic)
MigratePage = Literal["buffer", "page", "none"]


@dataclass(frozen=True, slots=True)
class FilesystemType:
    """Operations of a filesystem. `migratepage`: buffer_migrate_page(), migrate_page(), or no method. `buffers`: dirty
    pages have buffers. `releases`: try_to_release_page() frees the buffers of clean pages. `ordered`: on fsync the
    journal writes the buffers itself; they are locked during the write, but the page is not under writeback.
    `swap_backed`: no device, pages go to swap."""

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
"""Direct Migration V8 (patch 5): ext2, ext3 and xfs have a method. tmpfs has none: its pages move in the swap cache."""
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
    """A mounted filesystem. `write`, `read`: seconds per page on its device. `nr_written`: pages written since the
    mount."""

    name: str
    type: FilesystemType
    write: float
    read: float
    device: BlockDevice = field(default_factory=BlockDevice)
    files: dict[str, AddressSpace] = field(default_factory=dict[str, "AddressSpace"])
    nr_written: int = 0


@dataclass(eq=False, slots=True)
class AddressSpace:
    """A file's pages (struct address_space). `id`: negative, the `mapping` of its frames.

    Arrays with one element per page: `pages`: frame in the page cache or -1. `dirty`: dirty tag of the radix tree.
    `swapped`: swap entry of a shared memory page or -1. `device`: contents on the device. `policies`: index into
    `policy_list` (shared memory; 0: none). `expected`: value last written, kept only for tests.

    `i_size`: size in pages. `i_sem`: held for writing while the size changes. `mappings`: number of VMAs that map it.
    `writes`: requests in flight on its device."""

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
        """Size in pages. During a truncate the arrays are longer."""
        return self.i_size

    @property
    def swap_backed(self) -> bool:
        return self.fs.type.swap_backed

    def resize(self, size: int) -> None:
        """Set the size. New pages are holes that read as 0. The caller has removed all pages beyond the new size.
        Raises OSError EFBIG beyond MAX_PAGES."""
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
        """The policy of shared memory at a page, or None (mpol_shared_policy_lookup())."""
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
