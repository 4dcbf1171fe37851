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
    """Move cold pages to `target`, as far as it has free frames above its low watermark. Returns the number of frames
    that moved."""
    moved = 0
    base, heads = _divided(m, pages)
    taken = isolate(m, base[: _room(m, target)], None, move_all=True)
    if len(taken):
        failed: int = yield from migrate_isolated(m, taken, target)
        moved += len(taken) - failed if failed >= 0 else 0
    for head in heads.tolist():
        if _room(m, target) < m.frames.huge:
            break
        taken = isolate(m, np.array([head], np.int32), None, move_all=True)
        if len(taken) and (yield from migrate_isolated(m, taken, target)) == 0:
            moved += len(taken)
    m.count(f"pgdemote_{why}", moved)
    return moved


def _room(m: Machine, node: int) -> int:
    return max(0, m.frames.zones[node].free - m.frames.zones[node].wmark_low)


def _divided(m: Machine, pages: Pfns) -> tuple[Pfns, Pfns]:
    """(base pages, heads of huge pages): a huge page goes whole, by its head."""
    if not m.frames.compounds:
        return pages, pages[:0]
    huge = (m.frames.flags[pages] & PG.COMPOUND) != 0
    return pages[~huge], np.unique(head_of(m.frames, pages[huge])).astype(np.int32)
