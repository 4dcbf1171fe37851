"""Swap migration, the technique that direct migration replaces (swap_page() in mm/vmscan.c of 2.6.15-mm).

Pages are written to swap and freed. The next access reads a page back, on a node chosen by the policy in force then."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.page import Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate_range
from backend.emulator.mm.mm import Mm
from backend.nodeset import NodeSet


def swap_out_nodes(m: Machine, mm: Mm, sources: NodeSet, move_all: bool) -> Events:
    """Swap out the pages of `mm` on the source nodes. A target cannot be given. Returns the number of pages that
    stayed."""
    busy = 0
    yield from mm.lock.down_read(m.env)
    try:
        for source in sources & m.memory_nodes:
            pages = isolate_range(m, mm, source, move_all)
            yield from m.step("isolate", m.costs.isolate * len(pages))
            busy += yield from swap_out(m, pages)
    finally:
        mm.lock.up_read()
    return busy


def swap_out(m: Machine, pages: Pfns) -> Events:
    """Swap out isolated pages. All are put back afterwards. Returns the number of pages that stayed."""
    lists = MigrationLists(pages, np.full(len(pages), -1, np.int32), swap_out=True)
    stayed = yield from migrate_pages(m, lists)
    put_all_back(m, lists)
    return stayed
