"""Creating, removing and writing mappings (mm/mmap.c do_mmap(), do_munmap(), exit_mmap(); mm/memory.c
zap_page_range())."""

from __future__ import annotations

import numpy as np

from backend.emulator.machine import Machine
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT, VM, Indices, Mm, Vma
from backend.emulator.mm.placing import locked_elsewhere, mark_mlocked
from backend.emulator.mm.zap import zap
from backend.emulator.storage.file_io import evict
from backend.emulator.storage.filesystem import AddressSpace
from backend.emulator.tasks.task import Task

# Lowest addresses of new mappings and of the heap, in the ranges that x86-64 uses for mmap and for a PIE's brk.
MMAP_BASE = 0x7F00_0000_0000
HEAP_BASE = 0x5600_0000_0000
_GUARD = 16
"""Pages left unmapped between two mappings, so that they are never adjacent."""


def mmap(
    m: Machine,
    task: Task,
    pages: int,
    *,
    name: str = "",
    kind: str = "anon",
    policy: Mempolicy | None = None,
    flags: VM = VM.WRITE,
    file: AddressSpace | None = None,
    offset: int = 0,
    at: int | None = None,
) -> Vma:
    """Create a mapping without PTEs: anonymous, or of a `file` from page `offset`. `at`: its address (MAP_FIXED), where
    nothing is mapped. Raises ValueError for a kernel thread and for `pages` <= 0."""
    mm = task.mm
    if mm is None or pages <= 0:
        raise ValueError(f"{task.pid} cannot map {pages} pages")
    start = _unmapped_area(m, mm, kind == "heap", flags) if at is None else at
    vma = Vma(
        mm=mm, start=start, pages=pages, name=name or f"{kind}{len(mm.vmas)}", kind=kind,
        anon_vma=0 if flags & VM.SHARED else m.rmap.new(), file=file,
        pgoff=offset if file is not None else start // m.page_size, pte=np.zeros(pages, np.int64),
        nr_node=np.zeros(m.node_slots, np.int64), flags=flags, policy=policy,
        expected=np.zeros(pages, np.uint64) if m.watch else None,
    )  # fmt: skip
    mm.insert(vma)
    m.rmap.link(vma)
    return vma


def _unmapped_area(m: Machine, mm: Mm, heap: bool, flags: VM) -> int:
    """Above all other mappings, or above the heap's; where huge pages fit, if there may be some."""
    below = next((vma for vma in reversed(mm.vmas) if (vma.kind == "heap") == heap), None)
    start = below.end + _GUARD * m.page_size if below else HEAP_BASE if heap else MMAP_BASE
    if flags & (VM.HUGEPAGE | VM.HUGETLB):
        huge = m.frames.huge * m.page_size
        start = -(-start // huge) * huge
    return start


def munmap(m: Machine, vma: Vma, cpu: int | None = None) -> None:
    """Remove a whole mapping. An unlinked file is deleted with its last mapping. `cpu`: as for `zap`."""
    index = np.arange(vma.pages, dtype=np.int64)
    if vma.flags & VM.LOCKED and m.profile.mlocked_flag:
        vma.flags &= ~VM.LOCKED
        pfns = vma.pfns(index[(vma.pte & PTE_PRESENT) != 0])
        mark_mlocked(m, pfns[~locked_elsewhere(m, pfns)], lock=False)
    zap(m, vma, index, cpu)
    m.rmap.unlink(vma)
    vma.mm.vmas.remove(vma)
    vma.unmapped = True
    if vma.file is not None and vma.file.unlinked and not vma.file.mappings:
        m.start(evict(m, vma.file, cpu), "iput")


def mmput(m: Machine, mm: Mm) -> None:
    """Drop one user of an address space. The last one tears it down (exit_mmap())."""
    mm.users -= 1
    if not mm.users:
        for vma in list(mm.vmas):
            munmap(m, vma)


def store_values(m: Machine, vma: Vma, index: Indices, value: int | None = None) -> None:
    """Write to present, writable pages: `value` to all, or by default a new unique value to each. Records it in
    `expected` for tests."""
    values = m.new_values(len(index)) if value is None else np.full(len(index), value, np.uint64)
    m.frames.contents[vma.pfns(index)] = values
    if vma.shared and vma.file is not None:
        if vma.file.expected is not None:
            vma.file.expected[vma.pgoff + index] = values
    elif vma.expected is not None:
        vma.expected[index] = values
