"""Demotion: reclaim moves cold pages to a lower tier instead of dropping them (mm/vmscan.c demote_folio_list())."""

from __future__ import annotations

from typing import Literal

import numpy as np

from backend.emulator.frames.frames import head_of
from backend.emulator.frames.memory_tiers import demotion_target
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.frames.zone import Zone
from backend.emulator.machine import Machine
from backend.emulator.migration.isolate import isolate
from backend.emulator.migration.nodes import migrate_isolated

Why = Literal["kswapd", "direct", "proactive"]
"""Who reclaims, as the counters pgdemote_* name it."""


def target_of(m: Machine, zone: Zone) -> int | None:
    """The node to which pages of a zone are demoted; None if they are not."""
    if not m.demotion:
        return None
    return demotion_target(m.tiers, {node: m.distance(zone.nid, node) for node in m.nodes}, zone.nid)


def demote(m: Machine, pages: Pfns, target: int, why: Why) -> Events:
    """Move cold pages to `target`, as far as it has free frames above its low watermark. Returns the number moved."""
    room = max(0, m.frames.zones[target].free - m.frames.zones[target].wmark_low)
    pages = pages[:room]
    if m.frames.compounds and len(pages):
        # A huge page goes whole or not at all: reclaim takes it by its head.
        flags = m.frames.flags[pages]
        pages = pages[((flags & PG.COMPOUND) == 0) | (head_of(m.frames, pages) == pages)]
    taken = isolate(m, pages, None, move_all=True)
    if not len(taken):
        return 0
    before = np.count_nonzero(m.frames.nid[taken] != target)
    failed: int = yield from migrate_isolated(m, taken, target)
    moved = int(before) - max(0, failed)
    m.count(f"pgdemote_{why}", moved)
    return moved
