"""Migration between sets of nodes: do_migrate_pages() (mm/mempolicy.c; patch 4 of Direct Migration V8)."""

from __future__ import annotations

import errno

import numpy as np

from backend.emulator.frames.page import Pfns
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.blocks import migrate_blocks, take_apart
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate_range, putback
from backend.emulator.migration.swap_out import swap_out_nodes
from backend.emulator.mm.mm import Mm
from backend.nodeset import NodeSet
from backend.plan.remap import Move, remap


def do_migrate_pages(
    m: Machine,
    mm: Mm,
    sources: NodeSet,
    targets: NodeSet,
    move_all: bool,
    allowed: frozenset[int] | None = None,
    here: int = 0,
) -> Events:
    """Migrate node by node, in the order of the remap rule. Returns the number of pages not moved, or a negative errno;
    pages moved before the error stay moved.

    `allowed`: mems_allowed of the caller, which limits target frames. Without patch 4 a target cannot be given: new
    frames come from `here`, the caller's node. Before 6.7 it holds mmap_sem for reading throughout, so mmap() and
    munmap() wait; since then only while it collects pages.
    """
    busy = 0
    yield from m.pagevecs.lru_add_drain_all()
    if m.swaps_out:
        return (yield from swap_out_nodes(m, mm, sources - targets, move_all))
    moves = remap(sources, targets, m.profile.rule)
    if not m.patches.node_sets:
        moves = tuple(Move(source, here) for source in sources if source != here)
    if m.profile.holds_lock:
        yield from mm.lock.down_read(m.env)
    try:
        for move in moves:
            result = yield from migrate_to_node(m, mm, move.source, move.target, move_all, allowed)
            if result < 0:
                return result
            busy += result
    finally:
        if m.profile.holds_lock:
            mm.lock.up_read()
    return busy


def migrate_to_node(
    m: Machine, mm: Mm, source: int, target: int, move_all: bool, allowed: frozenset[int] | None = None
) -> Events:
    """Migrate all pages of `mm` from one node to another. Returns as `migrate_isolated`; 0 if `source` does not
    exist."""
    if source not in m.nodes:
        return 0
    if not m.profile.holds_lock:
        yield from mm.lock.down_read(m.env)
    try:
        pages = isolate_range(m, mm, source, move_all)
        yield from m.step("isolate", m.costs.isolate * len(pages))
    finally:
        if not m.profile.holds_lock:
            mm.lock.up_read()
    return (yield from migrate_isolated(m, pages, target, allowed))


def migrate_isolated(
    m: Machine, pages: Pfns, target: int, allowed: frozenset[int] | None = None, strict: bool | None = None
) -> Events:
    """Migrate isolated pages to `target`. All pages are put back afterwards.

    Target frames are allocated in chunks of `profile.chunk`. Chunks are merged, with the same result, if no other event
    is due in between, the node has frames for all of them, and swap has slots.

    Returns the number of pages not moved (a huge page counts as 1), or -ENOMEM if no target frame is free (`strict`: on
    `target` itself).
    """
    strict = m.profile.strict_target if strict is None else strict
    not_moved = 0
    pages, huge = take_apart(m, pages)
    if len(huge):
        nodes = (target,) if strict else m.frames.zones[target].zonelist
        try:
            not_moved, became_small = yield from migrate_blocks(m, huge, lambda block: nodes)
        except OSError:
            putback(m, pages)
            return -errno.ENOMEM
        pages = np.concatenate([pages, became_small])
    position = 0
    while position < len(pages):
        stride = m.stride
        if m.profile.chunk:
            stride = max(m.profile.chunk, min(stride, m.frames.room(target), m.swap.free))
        part = pages[position : position + stride]
        frames = m.frames.alloc(len(part), target, nodemask=allowed, strict=strict, here=target)
        lists = MigrationLists(part[: len(frames)], frames)
        not_moved += yield from migrate_pages(m, lists)
        position += len(frames)
        put_all_back(m, lists)
        if len(frames) < len(part):
            putback(m, pages[position:])
            m.count("pgmigrate_fail", not_moved + 1)
            return -errno.ENOMEM
    m.count("pgmigrate_fail", not_moved)
    return not_moved
