"""Frames of huge pages: aligned blocks that belong together, and the free ones of the hugetlb pool (mm/huge_memory.c, mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.zone import Zone

if TYPE_CHECKING:
    from backend.emulator.frames.frames import MemMap


def zone_starts(frames: MemMap, pfns: Pfns) -> Pfns:
    """The first frame of each one's zone."""
    starts = np.zeros(max(frames.zones) + 1, np.int32)
    for nid, zone in frames.zones.items():
        starts[nid] = zone.start
    return starts[frames.nid[pfns]]


def head_of(frames: MemMap, pfns: Pfns) -> Pfns:
    """The first frame of the huge page that each would belong to: huge pages are aligned within their zone."""
    starts = zone_starts(frames, pfns)
    return starts + (pfns - starts) // frames.huge * frames.huge


def frames_of(frames: MemMap, heads: Pfns) -> Pfns:
    """All frames of huge pages, in order."""
    return (heads[:, None] + np.arange(frames.huge, dtype=np.int32)).reshape(-1)


def make_compound(frames: MemMap, pfns: Pfns, flags: int = 0) -> None:
    """Whole, aligned blocks are huge pages from now on."""
    frames.flags[pfns] |= PG.COMPOUND | flags
    frames.compounds += len(pfns) // frames.huge


def split_huge(frames: MemMap, pfns: Pfns) -> None:
    """Huge pages that any of these belong to become ordinary pages (split_huge_page())."""
    inside = pfns[(frames.flags[pfns] & (PG.COMPOUND | PG.HUGETLB)) == PG.COMPOUND]
    if len(inside):
        heads = np.unique(head_of(frames, inside))
        frames.flags[frames_of(frames, heads)] &= ~np.uint32(PG.COMPOUND)
        frames.compounds -= len(heads)


def free_compound(frames: MemMap, pfns: Pfns) -> Pfns:
    """Of frames that become free those for the allocator: pages of the hugetlb pool go back to it, transparent huge
    pages of which a part is left are ordinary pages from now on. (Linux waits with both until memory is short, and moves
    what is left as one: deferred_split_huge_page().)"""
    split_huge(frames, pfns)
    pooled = (frames.flags[pfns] & PG.HUGETLB) != 0
    mine = pfns[pooled]
    if len(mine):
        frames.state[mine] = State.POOL
        frames.flags[mine] = PG.COMPOUND | PG.HUGETLB
        for attribute in (
            frames.refcount,
            frames.mapcount,
            frames.mapping,
            frames.index,
            frames.contents,
            frames.cgroup,
        ):
            attribute[mine] = 0
        for head in np.unique(head_of(frames, mine)).tolist():
            zone = frames.zones[int(frames.nid[head])]
            zone.hugetlb_free.append(head)
            inside = range(head, head + frames.huge)
            gone = not frames.offline_blocks.isdisjoint({pfn // frames.block_pages for pfn in inside})
            if gone or not frames.bad.isdisjoint(inside):
                shrink_pool(frames, zone, 1)
    return pfns[~pooled]


def take_blocks(frames: MemMap, zone: Zone, count: int) -> Pfns:
    """Up to `count` free, aligned blocks of a zone off its free stack, as far as the min watermark allows; refcount 1."""
    blocks = zone.pages // frames.huge
    count = min(count, (zone.free - zone.wmark_min) // frames.huge)
    if count <= 0 or not blocks:
        return np.empty(0, np.int32)
    free = (
        frames.state[zone.start : zone.start + blocks * frames.huge].reshape(blocks, frames.huge)
        == State.FREE
    )
    heads = (np.nonzero(free.all(axis=1))[0][:count] * frames.huge + zone.start).astype(np.int32)
    pfns = frames_of(frames, heads)
    taken = np.zeros(zone.pages, np.bool_)
    taken[pfns - zone.start] = True
    rest = zone.stack[: zone.free]
    rest = rest[~taken[rest - zone.start]]
    zone.stack[: len(rest)] = rest
    zone.free = len(rest)
    frames.state[pfns] = State.IN_USE
    frames.refcount[pfns] = 1
    return pfns


def shrink_pool(frames: MemMap, zone: Zone, count: int) -> None:
    """Free pages of the hugetlb pool become ordinary free memory."""
    for _ in range(count):
        mine = frames_of(frames, np.array([zone.hugetlb_free.pop()], np.int32))
        zone.nr_hugepages -= 1
        dissolve(frames, mine)
        frames.free(mine)


def discard_from_pool(frames: MemMap, pfn: int) -> None:
    """The free page of the pool that this frame belongs to becomes ordinary free memory."""
    zone = frames.zones[int(frames.nid[pfn])]
    head = int(head_of(frames, np.array([pfn], np.int32))[0])
    zone.hugetlb_free.remove(head)
    zone.hugetlb_free.append(head)
    shrink_pool(frames, zone, 1)


def dissolve(frames: MemMap, pfns: Pfns) -> None:
    """One page that was of the hugetlb pool is ordinary frames from now on."""
    frames.flags[pfns] &= ~np.uint32(PG.COMPOUND | PG.HUGETLB)
    frames.compounds -= 1
