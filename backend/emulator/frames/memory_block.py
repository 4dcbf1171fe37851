"""Memory blocks: the unit in which memory is taken offline and brought online (mm/memory_hotplug.c)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.frames import MemMap, discard_from_pool
from backend.emulator.frames.page import Pfns, State


def blocks_of(frames: MemMap, nid: int) -> range:
    """Numbers of a node's memory blocks. The last block may be only partly filled."""
    zone = frames.zones[nid]
    first = zone.start // frames.block_pages
    return range(first, first + -(-zone.pages // frames.block_pages))


def block_frames(frames: MemMap, number: int) -> Pfns:
    """Frames of a memory block, without the holes that belong to no node."""
    first = number * frames.block_pages
    pfns = np.arange(first, min(first + frames.block_pages, len(frames.nid)), dtype=np.int32)
    return pfns[frames.nid[pfns] >= 0]


def isolate_block(frames: MemMap, number: int) -> None:
    """Stop allocations from a memory block (start_isolate_page_range()). Its free frames are kept out now, frames in
    use when they are freed. Free hugetlb pages in the block are dissolved (dissolve_free_huge_pages())."""
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
    """Make the block's frames available again, except bad frames (undo_isolate_page_range(), online_pages())."""
    inside = block_frames(frames, number)[::-1]
    zone = frames.zones[int(frames.nid[inside[0]])]
    frames.offline_blocks.discard(number)
    zone.isolated = False
    back = inside[(frames.state[inside] == State.KEPT_OUT) & ~np.isin(inside, list(frames.bad))]
    frames.state[back] = State.FREE
    zone.stack[zone.free : zone.free + len(back)] = back
    zone.free += len(back)
    zone.kept_out -= len(back)
