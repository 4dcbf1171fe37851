"""mem_map: every page frame of the machine, and the allocator with its zonelists and watermarks (mm/page_alloc.c); huge
pages, which are aligned blocks of frames, and the hugetlb pool (mm/huge_memory.c, mm/hugetlb.c)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.zone import Zone

FIRST_PFN = 256
"""Frames below belong to the firmware: reserved, of no node."""


def _block_pages(nodes: Sequence[tuple[int, int]], page_size: int) -> int:
    """Frames of a memory block: 128 MiB, on small machines less, so that every node has at least one."""
    smallest = min((pages for _, pages in nodes if pages), default=1)
    return min((128 << 20) // page_size, 1 << (smallest.bit_length() - 1))


def _starts(nodes: Sequence[tuple[int, int]], block: int) -> list[int]:
    """Where each node's frames begin: at a memory block."""
    out: list[int] = []
    start = -(-FIRST_PFN // block) * block
    for _, pages in nodes:
        out.append(start)
        start += -(-pages // block) * block
    return out


class MemMap:
    """All frames, one array per attribute (43 bytes a frame with its place on the free stack).

    `mapping`: 0 none, > 0 the id of the anon_vma, < 0 the id of a file's address space. `index`: page offset in the
    mapping. `private`: the swap entry of a swap-cache page. `contents`: one 64-bit value stands for the page. `cgroup`:
    id of the cpuset it is charged to."""

    def __init__(
        self,
        nodes: Sequence[tuple[int, int]],
        distances: dict[tuple[int, int], int],
        page_size: int,
        huge: int = 0,
    ) -> None:
        """`nodes`: (id, pages), ascending; `distances`: between all of them; `huge`: frames of a huge page (2 MiB)."""
        self.huge = huge or max(1, (2 << 20) // page_size)
        self.compounds = 0
        self.repeats = False
        self.block_pages = _block_pages(nodes, page_size)
        self.offline_blocks: set[int] = set()
        starts = _starts(nodes, self.block_pages)
        total = max((start + pages for start, (_, pages) in zip(starts, nodes, strict=True)), default=FIRST_PFN)
        self.nid = np.full(total, -1, np.int16)
        self.state = np.zeros(total, np.uint8)
        self.flags = np.zeros(total, np.uint32)
        self.refcount = np.zeros(total, np.int32)
        self.mapcount = np.zeros(total, np.int32)
        self.mapping = np.zeros(total, np.int32)
        self.index = np.zeros(total, np.int64)
        self.private = np.zeros(total, np.int32)
        self.contents = np.zeros(total, np.uint64)
        self.cgroup = np.zeros(total, np.int16)
        self.last_cpupid: NDArray[np.int32] | None = None
        self.zones: dict[int, Zone] = {}
        self.bad: set[int] = set()
        for start, (nid, pages) in zip(starts, nodes, strict=True):
            self.nid[start : start + pages] = nid
            self.state[start : start + pages] = State.FREE
            stack = np.arange(start + pages - 1, start - 1, -1, dtype=np.int32)
            self.zones[nid] = Zone(nid, start, pages, stack, pages)
        self._set_watermarks(page_size)
        self._set_zonelists(distances)

    def _set_watermarks(self, page_size: int) -> None:
        """min_free_kbytes = sqrt(16 × memory in kB), shared by size (init_per_zone_wmark_min(),
        setup_per_zone_wmarks())."""
        total = sum(zone.pages for zone in self.zones.values())
        kilobytes = total * page_size // 1024
        min_pages = max(128, min(isqrt(kilobytes * 16), 262_144)) * 1024 // page_size
        for zone in self.zones.values():
            zone.wmark_min = min(min_pages * zone.pages // total, zone.pages // 8) if total else 0
            zone.wmark_low = zone.wmark_min + zone.wmark_min // 4
            zone.wmark_high = zone.wmark_min + zone.wmark_min // 2

    def _set_zonelists(self, distances: dict[tuple[int, int], int]) -> None:
        for nid, zone in self.zones.items():
            zone.zonelist = tuple(
                sorted(
                    (other for other, candidate in self.zones.items() if candidate.pages),
                    key=lambda other: (other != nid, distances.get((nid, other), 20), other),
                )
            )

    def alloc(
        self,
        count: int,
        nid: int,
        *,
        nodemask: frozenset[int] | None = None,
        strict: bool = False,
        here: int = -1,
    ) -> Pfns:
        """Up to `count` frames for `nid`, refcount 1, falling back along its zonelist (not when `strict`:
        GFP_THISNODE).

        First down to the low watermark of each zone, then down to the min watermark. Fewer than `count` come back
        where there are no more. `here`: the node of the allocating CPU, for numastat.
        """
        zone = self.zones[nid]
        order = (nid,) if strict else zone.zonelist
        parts: list[Pfns] = []
        missing = count
        for low in (True, False):
            for candidate in order:
                if missing <= 0:
                    break
                if nodemask is not None and candidate not in nodemask:
                    continue
                source = self.zones[candidate]
                take = min(missing, source.free - (source.wmark_low if low else source.wmark_min))
                if take > 0:
                    parts.append(self._pop(source, take))
                    missing -= take
                    self._count(zone, source, take, here, nodemask)
        got = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])
        at = span(got)
        self.state[at] = State.IN_USE
        self.refcount[at] = 1
        return got

    def room(self, nid: int) -> int:
        """The frames that a node has above its low watermark."""
        zone = self.zones[nid]
        return max(0, zone.free - zone.wmark_low)

    def _pop(self, zone: Zone, count: int) -> Pfns:
        zone.free -= count
        return zone.stack[zone.free : zone.free + count][::-1].copy()

    def _count(self, wanted: Zone, got: Zone, count: int, here: int, nodemask: frozenset[int] | None) -> None:
        if wanted.nid == got.nid or (nodemask is not None and wanted.nid not in nodemask):
            got.numastat["numa_hit"] += count
        else:
            got.numastat["numa_miss"] += count
            wanted.numastat["numa_foreign"] += count
        got.numastat["local_node" if got.nid == here else "other_node"] += count

    def free(self, pfns: Pfns) -> None:
        """Frames whose last reference went: back to their zones, all attributes cleared."""
        if not len(pfns):
            return
        if self.compounds:
            pfns = free_compound(self, pfns)
        self.drop_lru(pfns)
        at = span(pfns)
        self.state[at] = State.FREE
        self.flags[at] = 0
        self.refcount[at] = 0
        self.mapcount[at] = 0
        self.mapping[at] = 0
        self.index[at] = 0
        self.private[at] = 0
        self.contents[at] = 0
        self.cgroup[at] = 0
        if self.last_cpupid is not None:
            self.last_cpupid[at] = 0
        for nid, here in self.by_node(pfns):
            zone = self.zones[nid]
            mine = pfns[here]
            if self.offline_blocks or self.bad:
                mine = self.keep_out(zone, mine)
            zone.stack[zone.free : zone.free + len(mine)] = mine[::-1]
            zone.free += len(mine)

    def take_bad(self, pfn: int) -> None:
        """A free frame that is bad leaves its node's free stack."""
        zone = self.zones[int(self.nid[pfn])]
        stack = zone.stack[: zone.free]
        rest = self.keep_out(zone, stack[stack == pfn])
        rest = np.concatenate([stack[stack != pfn], rest])
        zone.stack[: len(rest)] = rest
        zone.free = len(rest)

    def keep_out(self, zone: Zone, pfns: Pfns) -> Pfns:
        """Of frames that became free those that may be used again; the others are kept out."""
        out = np.isin(pfns // self.block_pages, list(self.offline_blocks)) | np.isin(pfns, list(self.bad))
        self.state[pfns[out]] = State.KEPT_OUT
        zone.kept_out += int(np.count_nonzero(out))
        return pfns[~out]

    def track_faults(self) -> None:
        """From now on frames remember who took their last hinting fault (page_cpupid_last(); 0: nobody)."""
        if self.last_cpupid is None:
            self.last_cpupid = np.zeros(len(self.nid), np.int32)

    def put(self, pfns: Pfns) -> None:
        """Drop one reference each; those that had the last one are freed. A frame may be named twice where pages are
        merged (`repeats`)."""
        if not len(pfns):
            return
        if self.repeats:
            np.subtract.at(self.refcount, pfns, 1)
            self.free(np.unique(pfns[self.refcount[pfns] == 0]))
            return
        at = span(pfns)
        self.refcount[at] -= 1
        self.free(pick(pfns, self.refcount[at] == 0))

    def add_lru(self, pfns: Pfns, active: bool | None = None) -> None:
        """Onto the LRU: all active or all inactive, or each as its own flag says (None)."""
        at = span(pfns)
        if active is not None:
            if active:
                self.flags[at] |= PG.ACTIVE
            else:
                self.flags[at] &= ~np.uint32(PG.ACTIVE)
        self.flags[at] |= PG.LRU
        self._count_lru(pfns, +1)

    def drop_lru(self, pfns: Pfns) -> None:
        """Off the LRU; frames that are not on it are passed over. The active flag stays."""
        on = pick(pfns, (self.flags[span(pfns)] & PG.LRU) != 0)
        if len(on):
            self._count_lru(on, -1)
            self.flags[span(on)] &= ~np.uint32(PG.LRU)

    def _count_lru(self, pfns: Pfns, sign: int) -> None:
        flags = self.flags[span(pfns)]
        if self.compounds and (flags & PG.HUGETLB).any():
            pfns = pfns[(flags & PG.HUGETLB) == 0]
            flags = self.flags[span(pfns)]
        for nid, here in self.by_node(pfns):
            mine = flags[here]
            backed, active = (mine & PG.SWAPBACKED) != 0, (mine & PG.ACTIVE) != 0
            anon, both = int(np.count_nonzero(backed)), int(np.count_nonzero(backed & active))
            file, active_file = len(mine) - anon, int(np.count_nonzero(active)) - both
            self.zones[nid].lru += sign * np.array([anon - both, both, file - active_file, active_file])

    def count_cache(self, pfns: Pfns, sign: int) -> None:
        """Pages that entered (+1) or left (-1) the page cache."""
        backed = (self.flags[span(pfns)] & PG.SWAPBACKED) != 0
        for nid, here in self.by_node(pfns):
            mine = backed[here]
            self.zones[nid].nr_file += sign * len(mine)
            self.zones[nid].nr_shmem += sign * int(np.count_nonzero(mine))

    def count_swap_cache(self, pfns: Pfns, sign: int) -> None:
        """Pages that entered (+1) or left (-1) the swap cache."""
        for nid, here in self.by_node(pfns):
            self.zones[nid].nr_swapcached += sign * len(pfns[here])

    def by_node(self, pfns: Pfns) -> list[tuple[int, NDArray[np.bool_] | slice]]:
        """(node, which of the batch are its) for each node that has some."""
        if not len(pfns):
            return []
        zone = self.zones[int(self.nid[pfns[0]])]
        at = span(pfns)
        low, high = (
            (at.start, at.stop - 1) if isinstance(at, slice) else (np.minimum.reduce(pfns), np.maximum.reduce(pfns))
        )
        if low >= zone.start and high < zone.start + zone.pages:
            return [(zone.nid, slice(None))]
        nids = self.nid[pfns]
        return [(nid, nids == nid) for nid in np.nonzero(np.bincount(nids))[0].tolist()]


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
    pages of which a part is left are ordinary pages from now on. (Linux waits with both until memory is short, and
    moves what is left as one: deferred_split_huge_page().)"""
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
    """Up to `count` free, aligned blocks of a zone off its free stack, as far as the min watermark allows; refcount
    1."""
    blocks = zone.pages // frames.huge
    count = min(count, (zone.free - zone.wmark_min) // frames.huge)
    if count <= 0 or not blocks:
        return np.empty(0, np.int32)
    free = frames.state[zone.start : zone.start + blocks * frames.huge].reshape(blocks, frames.huge) == State.FREE
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
