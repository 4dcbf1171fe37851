"""Memory of the processes of a scenario: creates their mappings and fills them as described."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.frames import make_compound, take_blocks
from backend.emulator.frames.page import PG
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import anonymous_pages
from backend.emulator.mm.file_fault import BusError, map_cached
from backend.emulator.mm.huge_fault import fault_huge, wants_huge
from backend.emulator.mm.huge_pages import from_pool, huge_ranges
from backend.emulator.mm.mm import PTE_PRESENT, VM, Indices, Vma
from backend.emulator.mm.mmap import mmap, store_values
from backend.emulator.mm.placing import OutOfMemory, map_new, mark_mlocked
from backend.emulator.mm.region import Region
from backend.emulator.scenario.describe_processes import RegionSpec
from backend.emulator.storage.file_io import create, fill
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.tasks.task import Task
from backend.errors import UsageError

_FLAGS = {"io": VM.IO, "reserved": VM.RESERVED, "mlocked": VM.LOCKED, "huge": VM.HUGEPAGE}


def map_region(m: Machine, task: Task, spec: RegionSpec, shared_with: AddressSpace | None) -> Region:
    """Map a region into a process. `shared_with`: the object of another process's region, to be mapped here too.

    Raises UsageError if the memory does not fit.
    """
    flags = VM.WRITE | VM.HUGETLB if spec.kind == "hugetlb" else VM.WRITE
    for name in spec.marks:
        flags |= _FLAGS[name]
    space = shared_with or _object(m, spec)
    if space is not None and not spec.private:
        flags |= VM.SHARED
    vma = mmap(
        m,
        task,
        spec.pages,
        name=spec.name,
        kind=spec.kind,
        policy=spec.policy,
        flags=flags,
        file=space,
        offset=spec.offset,
    )
    if spec.on is not None:
        position = 0
        for node, pages in spec.on.items():
            populate(m, vma, np.arange(position, position + pages, dtype=np.int64), node, spec.dirty)
            position += pages
    elif spec.touched:
        _touch_all(m, task, vma, spec)
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        mark_mlocked(m, vma.pfns(np.nonzero(vma.pte & PTE_PRESENT)[0]), lock=True)
    return Region(spec.name, spec.kind, vma.start, spec.pages)


def _object(m: Machine, spec: RegionSpec) -> AddressSpace | None:
    """The file of a region, a new object for shared memory without a file, or None for private anonymous memory."""
    if spec.file:
        return find_file(m, spec.file)
    if spec.kind in ("shared", "shmem"):
        return create(m, m.shm, "/dev/zero" if spec.kind == "shared" else "/SYSV00000000", spec.pages, unlinked=True)
    return None


def find_file(m: Machine, path: str) -> AddressSpace | None:
    """A file by `filesystem/name`; None if it does not exist or was removed."""
    filesystem = m.filesystems.get(path.partition("/")[0])
    return filesystem.files.get("/" + path) if filesystem is not None else None


def _touch_all(m: Machine, task: Task, vma: Vma, spec: RegionSpec) -> None:
    index = np.arange(spec.pages, dtype=np.int64)
    if vma.file is not None:
        populate(m, vma, index, m.nearest_memory(m.node_of_cpu[task.leader.cpu]), spec.dirty)
        return
    try:
        if wants_huge(vma, write=True):
            fault_huge(m, task, task.leader, vma, index)
        anonymous_pages(m, task, task.leader, vma, index[(vma.pte[index] & PTE_PRESENT) == 0])
    except (OutOfMemory, BusError):
        name = task.command.decode(errors="replace")
        raise UsageError(f"the machine has no room for '{spec.name}' of '{name}'", "make it smaller") from None
    store_values(m, vma, index)


def populate(m: Machine, vma: Vma, index: Indices, node: int, dirty: bool = False) -> None:
    """Fill pages with frames of one node. Anonymous pages are written to; file pages are put into the page cache,
    `dirty` or clean, and mapped. Raises UsageError if the node has too few frames."""
    if wants_huge(vma, write=True):
        populate_huge(m, vma, index, node)
        index = index[(vma.pte[index] & PTE_PRESENT) == 0]
        if not len(index):
            return
    space = vma.file
    missing = index if space is None else index[space.pages[vma.pgoff + index] < 0]
    pfns = m.frames.alloc(len(missing), node, strict=True, here=node)
    if len(pfns) < len(missing):
        raise UsageError(
            f"node {node} has no room for {len(missing)} pages of '{vma.name}'",
            "the kernel keeps some memory free: make it smaller",
        )
    if space is None:
        map_new(m, vma, index, pfns)
        store_values(m, vma, index)
        return
    m.frames.cgroup[pfns] = vma.mm.cgroup
    fill(m, space, vma.pgoff + missing, pfns, dirty)
    map_cached(m, vma, index, write=False)
    m.frames.flags[space.pages[vma.pgoff + index]] |= PG.REFERENCED


def populate_huge(m: Machine, vma: Vma, index: Indices, node: int) -> None:
    """Fill the huge pages that lie wholly within `index`. Without VM_HUGETLB it stops when the node has no more blocks.
    Raises UsageError if the node's hugetlb pool is too small."""
    for pages in huge_ranges(m, vma, index):
        if not np.isin(pages, index).all():
            continue
        if vma.flags & VM.HUGETLB:
            pfns = from_pool(m, [node])
            if not len(pfns):
                raise UsageError(
                    f"the pool of node {node} has too few huge pages for '{vma.name}'",
                    "give the node hugepages: N",
                )
        else:
            pfns = take_blocks(m.frames, m.frames.zones[node], 1)
            if not len(pfns):
                return
            make_compound(m.frames, pfns)
        map_new(m, vma, pages, pfns)
        store_values(m, vma, pages)
