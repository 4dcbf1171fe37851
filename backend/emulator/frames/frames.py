"""mem_map: all page frames of the machine, and the page allocator with zonelists and watermarks (mm/page_alloc.c).

Huge pages, transparent or of the hugetlb pool, are aligned blocks of frames (mm/huge_memory.c, mm/hugetlb.c)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.page import PG, Pfns, State
from backend.emulator.frames.zone import Zone

FIRST_PFN = 256
"""Frames below are reserved for firmware and belong to no node: the first MiB of x86, with 4 KiB pages."""


def usual_huge(page_size: int) -> int:
    """Base pages of a huge page: as many as one page table has entries (8 bytes each), 512 for pages of 4 KiB. Base
    pages of 2 MiB are huge pages already."""
    return page_size // 8 if page_size < 2 << 20 else 1


def _block_pages(nodes: Sequence[tuple[int, int]], page_size: int) -> int:
    """Frames per memory block: 128 MiB as on x86-64 (MIN_MEMORY_BLOCK_SIZE), less if a node is smaller. A power of
    two."""
    smallest = min((pages for _, pages in nodes if pages), default=1)
    return min((128 << 20) // page_size, 1 << (smallest.bit_length() - 1))


def _starts(nodes: Sequence[tuple[int, int]], block: int) -> list[int]:
    """First frame of each node, aligned to a memory block."""
    out: list[int] = []
    start = -(-FIRST_PFN // block) * block
    for _, pages in nodes:
        out.append(start)
        start += -(-pages // block) * block
    return out


class MemMap:
    """All frames, one array per attribute (45 bytes a frame, including its slot on the free stack).

    `mapping`: 0 for none, > 0 the id of the anon_vma, < 0 the id of a file's address space. `index`: page offset in the
    mapping. `private`: the swap entry of a swap-cache page. `contents`: one 64-bit value models the whole page.
    `cgroup`: id of the cpuset the page is charged to. `compounds`: number of huge pages. `repeats`: KSM has merged
    pages, so a batch may name a frame twice."""

    def __init__(
        self,
        nodes: Sequence[tuple[int, int]],
        distances: dict[tuple[int, int], int],
        page_size: int,
        huge: int = 0,
    ) -> None:
        """`nodes`: (id, pages), ascending. `distances`: (from, to) → SLIT distance. `huge`: frames per huge page; 0
        means 2 MiB, the size of a PMD on x86-64."""
        self.huge = huge or usual_huge(page_size)
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
        """min_free_kbytes = sqrt(16 × memory in kB), shared among zones by their size (init_per_zone_wmark_min(),
        setup_per_zone_wmarks())."""
        total = sum(zone.pages for zone in self.zones.values())
        kilobytes = total * page_size // 1024
        # init_per_zone_wmark_min() clamps min_free_kbytes to 128..262144 kB.
        min_pages = max(128, min(isqrt(kilobytes * 16), 262_144)) * 1024 // page_size
        # low = min * 5/4, high = min * 3/2, as in setup_per_zone_wmarks() without watermark_scale_factor. At most 1/8
        # of a zone is reserved: the lower clamp would take all of a very small one.
        for zone in self.zones.values():
            zone.wmark_min = min(min_pages * zone.pages // total, zone.pages // 8) if total else 0
            zone.wmark_low = zone.wmark_min + zone.wmark_min // 4
            zone.wmark_high = zone.wmark_min + zone.wmark_min // 2

    def _set_zonelists(self, distances: dict[tuple[int, int], int]) -> None:
        for nid, zone in self.zones.items():
            zone.zonelist = tuple(
                sorted(
                    (other for other, candidate in self.zones.items() if candidate.pages),
                    # 20: REMOTE_DISTANCE (include/linux/topology.h).
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
        """Allocate up to `count` frames, refcount 1, from `nid` and then along its zonelist. `strict`: `nid` only
        (GFP_THISNODE).

        The first round stops at the low watermark of each zone, the second at the min watermark
        (get_page_from_freelist()). Returns fewer frames if no more are free. `here`: the node of the allocating CPU,
        for numastat.
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
        """Free frames of a node above its low watermark."""
        zone = self.zones[nid]
        return max(0, zone.free - zone.wmark_low)

    def _pop(self, zone: Zone, count: int) -> Pfns:
        zone.free -= count
        return zone.stack[zone.free : zone.free + count][::-1].copy()

    def _count(self, wanted: Zone, got: Zone, count: int, here: int, nodemask: frozenset[int] | None) -> None:
        # zone_statistics() compares with the preferred zone, which is always inside the nodemask.
        if wanted.nid == got.nid or (nodemask is not None and wanted.nid not in nodemask):
            got.numastat["numa_hit"] += count
        else:
            got.numastat["numa_miss"] += count
            wanted.numastat["numa_foreign"] += count
        got.numastat["local_node" if got.nid == here else "other_node"] += count

    def free(self, pfns: Pfns) -> None:
        """Return frames without references to their zones and clear all attributes (free_pages_prepare())."""
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
        """Take a free frame in `bad` off its node's free stack (take_page_off_buddy())."""
        zone = self.zones[int(self.nid[pfn])]
        stack = zone.stack[: zone.free]
        rest = self.keep_out(zone, stack[stack == pfn])
        rest = np.concatenate([stack[stack != pfn], rest])
        zone.stack[: len(rest)] = rest
        zone.free = len(rest)

    def keep_out(self, zone: Zone, pfns: Pfns) -> Pfns:
        """Set newly freed frames that are bad or in offline blocks to KEPT_OUT. Returns the others."""
        out = np.isin(pfns // self.block_pages, list(self.offline_blocks)) | np.isin(pfns, list(self.bad))
        self.state[pfns[out]] = State.KEPT_OUT
        zone.kept_out += int(np.count_nonzero(out))
        return pfns[~out]

    def track_faults(self) -> None:
        """Start recording the CPU and thread of each frame's last hinting fault (page_cpupid_last()). 0: none yet."""
        if self.last_cpupid is None:
            self.last_cpupid = np.zeros(len(self.nid), np.int32)

    def put(self, pfns: Pfns) -> None:
        """Drop one reference to each frame and free frames whose refcount reaches 0 (put_page())."""
        if not len(pfns):
            return
        if self.repeats:
            # Indexed assignment would count a frame that is named twice only once.
            np.subtract.at(self.refcount, pfns, 1)
            self.free(np.unique(pfns[self.refcount[pfns] == 0]))
            return
        at = span(pfns)
        self.refcount[at] -= 1
        self.free(pick(pfns, self.refcount[at] == 0))

    def add_lru(self, pfns: Pfns, active: bool | None = None) -> None:
        """Add frames to the LRU. `active` None: each frame's PG_active flag decides."""
        at = span(pfns)
        if active is not None:
            if active:
                self.flags[at] |= PG.ACTIVE
            else:
                self.flags[at] &= ~np.uint32(PG.ACTIVE)
        self.flags[at] |= PG.LRU
        self._count_lru(pfns, +1)

    def drop_lru(self, pfns: Pfns) -> None:
        """Remove frames from the LRU. Skips frames that are not on it. PG_active stays set."""
        on = pick(pfns, (self.flags[span(pfns)] & PG.LRU) != 0)
        if len(on):
            self._count_lru(on, -1)
            self.flags[span(on)] &= ~np.uint32(PG.LRU)

    def _count_lru(self, pfns: Pfns, sign: int) -> None:
        flags = self.flags[span(pfns)]
        if self.compounds and (flags & PG.HUGETLB).any():
            # hugetlb pages are on the list of their hstate, not on the LRU (hugepage_activelist).
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
        """For each node in the batch: (node, mask or slice of its frames). slice(None) if all are on one node."""
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
    """For each frame, the first frame of its zone."""
    starts = np.zeros(max(frames.zones) + 1, np.int32)
    for nid, zone in frames.zones.items():
        starts[nid] = zone.start
    return starts[frames.nid[pfns]]


def head_of(frames: MemMap, pfns: Pfns) -> Pfns:
    """For each frame, the first frame of the huge-page-sized block that contains it. Blocks are aligned within their
    zone."""
    starts = zone_starts(frames, pfns)
    return starts + (pfns - starts) // frames.huge * frames.huge


def frames_of(frames: MemMap, heads: Pfns) -> Pfns:
    """All frames of the huge pages that start at `heads`, in order."""
    return (heads[:, None] + np.arange(frames.huge, dtype=np.int32)).reshape(-1)


def make_compound(frames: MemMap, pfns: Pfns, flags: int = 0) -> None:
    """Turn whole, aligned blocks into huge pages (prep_compound_page())."""
    frames.flags[pfns] |= PG.COMPOUND | flags
    frames.compounds += len(pfns) // frames.huge


def split_huge(frames: MemMap, pfns: Pfns) -> None:
    """Split the transparent huge pages that contain any of these frames (split_huge_page())."""
    inside = pfns[(frames.flags[pfns] & (PG.COMPOUND | PG.HUGETLB)) == PG.COMPOUND]
    if len(inside):
        heads = np.unique(head_of(frames, inside))
        frames.flags[frames_of(frames, heads)] &= ~np.uint32(PG.COMPOUND)
        frames.compounds -= len(heads)


def free_compound(frames: MemMap, pfns: Pfns) -> Pfns:
    """Free parts of huge pages. hugetlb pages return to their pool. A transparent huge page of which a part is freed is
    split at once; Linux splits it when memory is short and moves the rest as a unit until then
    (deferred_split_huge_page()). Returns the frames that go to the page allocator."""
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
    """Allocate up to `count` free, aligned blocks of a zone, refcount 1, down to its min watermark. Returns their
    frames, empty if none is free."""
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
    """Return `count` free pages of the hugetlb pool to the page allocator (update_and_free_page())."""
    for _ in range(count):
        mine = frames_of(frames, np.array([zone.hugetlb_free.pop()], np.int32))
        zone.nr_hugepages -= 1
        dissolve(frames, mine)
        frames.free(mine)


def discard_from_pool(frames: MemMap, pfn: int) -> None:
    """Return the free hugetlb page that contains this frame to the page allocator (dissolve_free_huge_page())."""
    zone = frames.zones[int(frames.nid[pfn])]
    head = int(head_of(frames, np.array([pfn], np.int32))[0])
    # shrink_pool() takes the last page of the list.
    zone.hugetlb_free.remove(head)
    zone.hugetlb_free.append(head)
    shrink_pool(frames, zone, 1)


def dissolve(frames: MemMap, pfns: Pfns) -> None:
    """Turn the frames of one hugetlb page into ordinary frames."""
    frames.flags[pfns] &= ~np.uint32(PG.COMPOUND | PG.HUGETLB)
    frames.compounds -= 1
