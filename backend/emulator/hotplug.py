"""Callers of migration that keep the moved frames: a node that goes offline, a frame that is bad (mm/memory_hotplug.c,
mm/memory-failure.c soft_offline_page())."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np

from backend.emulator.frames import Pfns, State
from backend.emulator.migration.direct import Lists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate
from backend.emulator.page_lock import Events
from backend.emulator.syscalls import fail

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

_ATTEMPTS = 5


def offline(m: Machine, node: int) -> Events:
    """All memory of a node out of use: allocations from it stop, every page leaves it, its frames are kept out.

    OSError EINVAL (no such memory, or the last of the machine), EBUSY: pages stayed; then the node is as it was before.
    """
    if node not in m.memory_nodes or len(m.memory_nodes) == 1:
        raise fail(errno.EINVAL)
    zone = m.frames.zones[node]
    m.frames.isolate_zone(node)
    span = slice(zone.start, zone.start + zone.pages)
    for _ in range(_ATTEMPTS):
        pages = (np.nonzero(m.frames.state[span] == State.IN_USE)[0] + zone.start).astype(np.int32)
        if not len(pages):
            break
        yield from _empty(m, pages, node)
    if (m.frames.state[span] == State.IN_USE).any():
        m.frames.return_zone(node)
        yield from m.cpusets.follow_nodes()
        raise fail(errno.EBUSY)
    yield from m.cpusets.follow_nodes()
    return 0


def online(m: Machine, node: int) -> Events:
    """The node's memory back in use, bad frames excepted. OSError EINVAL: it is in use."""
    if node not in m.nodes or not m.frames.zones[node].isolated:
        raise fail(errno.EINVAL)
    m.frames.return_zone(node)
    yield from m.step("online", m.costs.syscall)
    yield from m.cpusets.follow_nodes()
    return 0


def bad_page(m: Machine, pfn: int) -> Events:
    """One frame out of use: its page moves elsewhere, the frame is kept out for good. OSError EBUSY: the page stayed."""
    m.frames.bad.add(pfn)
    one = np.array([pfn], np.int32)
    if m.frames.state[pfn] == State.IN_USE:
        yield from _empty(m, one, int(m.frames.nid[pfn]))
    if m.frames.state[pfn] != State.KEPT_OUT:
        m.frames.bad.discard(pfn)
        raise fail(errno.EBUSY)
    return 0


def _empty(m: Machine, pages: Pfns, node: int) -> Events:
    """Pages to wherever there is room nearest to their node (out to swap where that is all the kernel can)."""
    yield from m.pagevecs.lru_add_drain_all()
    taken = isolate(m, pages, None, move_all=True)
    yield from m.step("isolate", m.costs.isolate * len(taken))
    if m.swaps_out:
        lists = Lists(taken, np.full(len(taken), -1, np.int32), swap_out=True)
    else:
        lists = Lists(taken, m.frames.alloc(len(taken), node, here=node))
    yield from migrate_pages(m, lists)
    put_all_back(m, lists)
