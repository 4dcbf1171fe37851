"""Collecting the pages of a range that a policy does not want where they are (mm/mempolicy.c queue_pages_range())."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.frames import head_of
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate, putback, takeable
from backend.emulator.mm.mm import PTE_PRESENT, Indices, Mm, Vma
from backend.emulator.mm.vma_split import overlapping
from backend.errors import os_error
from backend.kernel import MoveFlag
from backend.nodeset import NodeSet

_NONE: Pfns = np.empty(0, np.int32)


@dataclass(slots=True)
class Queue:
    """`pages`: isolated. `unmovable`: STRICT was asked for, and one was found that cannot be isolated; the walk ended
    behind it. `addresses`: where the first page of each was found, by frame; of a huge page only one has it."""

    pages: Pfns = field(default_factory=lambda: _NONE)
    unmovable: bool = False
    addresses: dict[int, int] = field(default_factory=dict[int, int])

    def address_of(self, pfn: int) -> int:
        """The address of a page."""
        return self.addresses[pfn]


def queue_pages_range(
    m: Machine, mm: Mm, start: int, end: int, nodes: NodeSet, flags: int, holes: bool = False
) -> Queue:
    """Isolate the pages of a range that are not on `nodes`, which are as the caller wrote them. Without MOVE and
    MOVE_ALL only holes are looked for, and with STRICT alone such pages.

    Raises OSError EFAULT where part of the range is not mapped, with `holes` only where none is; EIO for STRICT
    alone."""
    queue = Queue()
    try:
        position = start
        for vma, following in pairwise([*overlapping(mm, start, end), None]):
            assert vma is not None
            stop = min(end, vma.end)
            behind = vma.end < end and (following is None or following.start > vma.end)
            if not holes and (vma.start > position or behind):
                raise os_error(errno.EFAULT)
            if vma.migratable(m.profile.migration_entries) or flags & MoveFlag.STRICT:
                _walk(m, vma, max(start, vma.start), stop, nodes, flags, queue)
            position = stop
            if queue.unmovable:
                return queue
        if position == start:
            raise os_error(errno.EFAULT)
    except OSError:
        putback(m, queue.pages)
        raise
    return queue


def _walk(m: Machine, vma: Vma, start: int, end: int, nodes: NodeSet, flags: int, queue: Queue) -> None:
    """The part of a VMA, a page table of `huge` entries at a time: the walk ends behind one with a page that is
    unmovable."""
    if not flags:
        return
    table = m.frames.huge * m.page_size
    position = start
    while position < end and not queue.unmovable:
        stop = min(end, (position // table + 1) * table)
        at = np.arange((position - vma.start) // m.page_size, (stop - vma.start) // m.page_size, dtype=np.int64)
        at = at[(vma.pte[at] & PTE_PRESENT) != 0]
        pfns = vma.pfns(at)
        wanted = ~np.isin(m.frames.nid[pfns], np.fromiter(nodes, np.int64)) & (
            (m.frames.flags[pfns] & PG.RESERVED) == 0
        )
        if wanted.any():
            _queue(m, vma, at[wanted], pfns[wanted], flags, queue)
        position = stop


def _queue(m: Machine, vma: Vma, at: Indices, pfns: Pfns, flags: int, queue: Queue) -> None:
    """queue_pages_pte_range(), queue_pages_pmd(), queue_pages_hugetlb()."""
    strict, move_all = bool(flags & MoveFlag.STRICT), bool(flags & MoveFlag.MOVE_ALL)
    if not flags & (MoveFlag.MOVE | MoveFlag.MOVE_ALL):
        raise os_error(errno.EIO)
    if not vma.migratable(m.profile.migration_entries):
        queue.unmovable = True
        return
    frames = m.frames
    units = pfns
    if frames.compounds:
        units = np.where(frames.flags[pfns] & PG.COMPOUND, head_of(frames, pfns), pfns)
    # migrate_page_add() skips pages that others map, whatever is asked for.
    mine = np.ones(len(pfns), np.bool_) if move_all else frames.mapcount[units] == 1
    at, pfns, units = at[mine], pfns[mine], units[mine]
    first = _first_of_each(units)
    got = first & takeable(m, units, move_all=True)
    if strict:
        queue.unmovable = not (got | (~first & _mapped_whole(m, vma, at, pfns, units))).all()
    taken = isolate(m, pfns[got], None, move_all=True)
    queue.pages = np.concatenate([queue.pages, taken])
    for index, pfn, unit in zip(at[got].tolist(), pfns[got].tolist(), units[got].tolist(), strict=True):
        address = vma.start + index * m.page_size
        queue.addresses[pfn] = address
        if frames.flags[pfn] & PG.COMPOUND:
            offset = (pfn - unit) * m.page_size
            queue.addresses |= {unit + page: address - offset + page * m.page_size for page in range(frames.huge)}


def _first_of_each(units: Pfns) -> NDArray[np.bool_]:
    first = np.zeros(len(units), np.bool_)
    first[np.unique(units, return_index=True)[1]] = True
    return first


def _mapped_whole(m: Machine, vma: Vma, at: Indices, pfns: Pfns, units: Pfns) -> NDArray[np.bool_]:
    """True for pages of a huge page that one PMD maps here: it is isolated once. Those that PTEs map, because a VMA
    ends within, are tried one by one, and only the first succeeds."""
    first = at - (pfns - units)
    return (units != pfns) & (first >= 0) & (first + m.frames.huge <= vma.pages)
