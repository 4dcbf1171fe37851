"""Memory blocks: the granularity in which memory goes out of use and comes back (mm/memory_hotplug.c)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.frames import MemMap, discard_from_pool
from backend.emulator.frames.page import Pfns, State


def blocks_of(frames: MemMap, nid: int) -> range:
    """The numbers of a node's memory blocks; the last may be filled in part only."""
    zone = frames.zones[nid]
    first = zone.start // frames.block_pages
    return range(first, first + -(-zone.pages // frames.block_pages))


def block_frames(frames: MemMap, number: int) -> Pfns:
    """The frames of a memory block."""
    first = number * frames.block_pages
    pfns = np.arange(first, min(first + frames.block_pages, len(frames.nid)), dtype=np.int32)
    return pfns[frames.nid[pfns] >= 0]


def isolate_block(frames: MemMap, number: int) -> None:
    """Nothing is allocated from this memory block any more; its free frames are kept out, those in use when they are
    freed. Free pages of the hugetlb pool are dissolved."""
    inside = block_frames(frames, number)
    zone = frames.zones[int(frames.nid[inside[0]])]
    frames.offline_blocks.add(number)
    zone.isolated = frames.offline_blocks.issuperset(blocks_of(frames, zone.nid))
    pfns = set(inside.tolist())
    for head in [head for head in zone.hugetlb_free if not pfns.isdisjoint(range(head, head + frames.huge))]:
        discard_from_pool(frames, head)
    stack = zone.stack[: zone.free]
    rest = frames.keep_out(zone, stack)
    zone.stack[: len(rest)] = rest
    zone.free = len(rest)


def return_block(frames: MemMap, number: int) -> None:
    """The block's frames can be used again, except bad ones."""
    inside = block_frames(frames, number)[::-1]
    zone = frames.zones[int(frames.nid[inside[0]])]
    frames.offline_blocks.discard(number)
    zone.isolated = False
    back = inside[(frames.state[inside] == State.KEPT_OUT) & ~np.isin(inside, list(frames.bad))]
    frames.state[back] = State.FREE
    zone.stack[zone.free : zone.free + len(back)] = back
    zone.free += len(back)
    zone.kept_out -= len(back)
