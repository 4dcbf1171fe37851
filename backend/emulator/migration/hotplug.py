"""Callers of migration that keep the source frames out of use: offlining of memory (mm/memory_hotplug.c) and of bad
frames (mm/memory-failure.c soft_offline_page())."""

from __future__ import annotations

import contextlib
import errno

import numpy as np

from backend.emulator.frames.frames import discard_from_pool, split_huge
from backend.emulator.frames.memory_block import block_frames, blocks_of, isolate_block, return_block
from backend.emulator.frames.page import Pfns, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.blocks import migrate_blocks, take_apart
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate
from backend.errors import os_error

# Attempts to empty a range. Linux has no limit: offline_pages() retries until a signal is pending.
_ATTEMPTS = 5


def offline(m: Machine, node: int) -> Events:
    """Take all memory of a node offline: allocations from it stop, all pages leave it, its frames are kept out.
    Returns 0.

    Raises OSError EINVAL if the node has no memory or the only memory of the machine, EBUSY if pages could not be
    moved; the node's memory is then online again.
    """
    if node not in m.memory_nodes or len(m.memory_nodes) == 1:
        raise os_error(errno.EINVAL)
    blocks = [number for number in blocks_of(m.frames, node) if number not in m.frames.offline_blocks]
    yield from _take_out(m, node, blocks)
    return 0


def offline_block(m: Machine, number: int) -> Events:
    """Take one memory block offline (memory_block_action()). Returns 0. Raises OSError EINVAL if it is offline or the
    only memory of the machine, EBUSY as `offline`."""
    node = _node_of(m, number)
    others = set(blocks_of(m.frames, node)) - m.frames.offline_blocks - {number}
    if number in m.frames.offline_blocks or (not others and len(m.memory_nodes) == 1):
        raise os_error(errno.EINVAL)
    yield from _take_out(m, node, [number])
    return 0


def _take_out(m: Machine, node: int, blocks: list[int]) -> Events:
    frames = m.frames
    for number in blocks:
        isolate_block(frames, number)
    span = np.concatenate([block_frames(frames, number) for number in blocks])
    for _ in range(_ATTEMPTS):
        pages = span[frames.state[span] == State.IN_USE]
        if not len(pages):
            break
        yield from _empty(m, pages, node)
    stayed = bool((frames.state[span] == State.IN_USE).any())
    for number in blocks if stayed else ():
        return_block(frames, number)
    yield from m.cpusets.follow_nodes()
    if stayed:
        raise os_error(errno.EBUSY)


def online(m: Machine, node: int) -> Events:
    """Bring the node's memory online, except bad frames. Returns 0. Raises OSError EINVAL if nothing is offline."""
    blocks = m.frames.offline_blocks.intersection(blocks_of(m.frames, node)) if node in m.nodes else set[int]()
    if not blocks:
        raise os_error(errno.EINVAL)
    yield from _bring_back(m, sorted(blocks))
    return 0


def online_block(m: Machine, number: int) -> Events:
    """Bring one memory block online, except bad frames. Returns 0. Raises OSError EINVAL if it is online."""
    if number not in m.frames.offline_blocks:
        raise os_error(errno.EINVAL)
    yield from _bring_back(m, [number])
    return 0


def _bring_back(m: Machine, blocks: list[int]) -> Events:
    for number in blocks:
        return_block(m.frames, number)
    yield from m.step("online", m.costs.syscall)
    yield from m.cpusets.follow_nodes()


def _node_of(m: Machine, number: int) -> int:
    return next(node for node in m.nodes if number in blocks_of(m.frames, node))


def bad_page(m: Machine, pfn: int) -> Events:
    """Take a bad frame out of use for good (soft_offline_page()). A page in it moves elsewhere. Returns 0. Raises
    OSError EBUSY if the page could not be moved."""
    # Set before the page moves: MemMap.free() keeps bad frames out.
    m.frames.bad.add(pfn)
    one = np.array([pfn], np.int32)
    split_huge(m.frames, one)
    if m.frames.state[pfn] == State.POOL:
        discard_from_pool(m.frames, pfn)
    if m.frames.state[pfn] == State.FREE:
        m.frames.take_bad(pfn)
    if m.frames.state[pfn] == State.IN_USE:
        yield from _empty(m, one, int(m.frames.nid[pfn]))
    if m.frames.state[pfn] != State.KEPT_OUT:
        m.frames.bad.discard(pfn)
        raise os_error(errno.EBUSY)
    return 0


def _empty(m: Machine, pages: Pfns, node: int) -> Events:
    """Move pages to the nearest nodes with free frames, or to swap if the kernel has no direct migration."""
    yield from m.pagevecs.lru_add_drain_all()
    taken = isolate(m, pages, None, move_all=True)
    yield from m.step("isolate", m.costs.isolate * len(taken))
    if m.swaps_out:
        lists = MigrationLists(taken, np.full(len(taken), -1, np.int32), swap_out=True)
    else:
        taken, huge = take_apart(m, taken)
        if len(huge):
            # ENOMEM: the huge pages were put back; the next attempt tries them again.
            with contextlib.suppress(OSError):
                _, small = yield from migrate_blocks(m, huge, lambda block: m.frames.zones[node].zonelist)
                taken = np.concatenate([taken, small])
        yield from m.reclaim.free_some(len(taken), m.memory_nodes)
        lists = MigrationLists(taken, m.frames.alloc(len(taken), node, here=node))
        m.reclaim.after_alloc()
    yield from migrate_pages(m, lists)
    put_all_back(m, lists)
