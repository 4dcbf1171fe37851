"""Migration of huge pages, one at a time and each as a unit (mm/migrate.c unmap_and_move() of a compound page,
unmap_and_move_huge_page())."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import numpy as np

from backend.emulator.frames.frames import split_huge
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import putback
from backend.emulator.mm.huge_pages import leave_pool, target_block


def take_apart(m: Machine, pages: Pfns) -> tuple[Pfns, Pfns]:
    """Divide isolated pages into (base pages, pages of huge pages)."""
    if not m.frames.compounds:
        return pages, pages[:0]
    huge = (m.frames.flags[pages] & PG.COMPOUND) != 0
    return pages[~huge], pages[huge]


def migrate_blocks(m: Machine, pages: Pfns, target: Callable[[Pfns], Sequence[int]]) -> Events:
    """Move isolated huge pages, given by all their frames in order. `target` returns the nodes to try for a huge page,
    in order. All pages are put back afterwards, except transparent huge pages that found no free block: they are split
    and stay isolated.

    Returns (number of huge pages not moved, base pages of the split ones). Raises OSError ENOMEM if the pool has no
    free hugetlb page and none can be allocated; all pages are then put back."""
    size = m.frames.huge
    not_moved = 0
    split: list[Pfns] = [pages[:0]]
    for at in range(0, len(pages), size):
        old = pages[at : at + size]
        new, fresh = target_block(m, old, target(old))
        if not len(new) and m.frames.flags[old[0]] & PG.HUGETLB:
            putback(m, np.concatenate([*split, pages[at:]]))
            m.count("pgmigrate_fail", 1)
            raise OSError(errno.ENOMEM, "no huge page in the pool of the target")
        if not len(new):
            split_huge(m.frames, old)
            m.count("thp_migration_split", 1)
            split.append(old)
            continue
        lists = MigrationLists(old, new, unit=True)
        failed = yield from migrate_pages(m, lists)
        if fresh:
            # The pool keeps its size: it gives up the source after a move, the new page after a failure.
            leave_pool(m, new if failed else old)
        not_moved += failed
        put_all_back(m, lists)
    return not_moved, np.concatenate(split)
