"""The swap area and the swap cache (mm/swapfile.c, mm/swap_state.c)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.batches import pick, span
from backend.emulator.frames.frames import MemMap
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.storage.block_device import BlockDevice

Entries = NDArray[np.int32]
"""A batch of swap entries (slot numbers), each at most once: a page has one slot, and one PTE per VMA."""


class SwapArea:
    """A swap area with its swap cache. `swap_map[slot]`: use count, the number of swap PTEs that name the slot, plus 1
    while it is in the swap cache. `cache[slot]`: its frame in the swap cache, or -1. `contents[slot]`: contents on the
    device. `closed`: no slots are allocated any more (swapoff)."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.swap_map = np.zeros(max(1, slots), np.int32)
        self.cache = np.full(max(1, slots), -1, np.int32)
        self.contents = np.zeros(max(1, slots), np.uint64)
        self.device = BlockDevice()
        self._stack = np.arange(slots - 1, -1, -1, dtype=np.int32)
        self.free = slots
        self.closed = False

    @property
    def total(self) -> int:
        """Usable slots; 0 after swapoff."""
        return 0 if self.closed else self.slots

    @property
    def used(self) -> int:
        return self.slots - self.free

    def _get(self, count: int) -> Entries:
        take = 0 if self.closed else min(count, self.free)
        self.free -= take
        return self._stack[self.free : self.free + take][::-1].copy()

    def add_to_swap(self, frames: MemMap, pfns: Pfns) -> int:
        """Reserve a slot for each frame and add the frame to the swap cache: PG_swapcache, refcount + 1. No I/O. The
        caller must set the frames dirty, because the device does not have their contents yet. Returns the number n of
        slots found; the first n of `pfns` have one."""
        entries = self._get(len(pfns))
        got = pfns[: len(entries)]
        slots, at = span(entries), span(got)
        self.swap_map[slots] = 1
        self.cache[slots] = got
        frames.private[at] = entries
        frames.flags[at] |= PG.SWAPCACHE
        frames.refcount[at] += 1
        frames.count_swap_cache(got, +1)
        return len(got)

    def enter(self, frames: MemMap, entry: int, pfn: int) -> None:
        """Add a new frame to the swap cache for a slot that is about to be read: use count + 1, refcount + 1
        (read_swap_cache_async())."""
        self.swap_map[entry] += 1
        self.cache[entry] = pfn
        frames.private[pfn] = entry
        frames.flags[pfn] |= PG.SWAPCACHE
        frames.refcount[pfn] += 1
        frames.zones[int(frames.nid[pfn])].nr_swapcached += 1

    def duplicate(self, entries: Entries) -> None:
        """Use count + 1 for each slot, for a new swap PTE (swap_duplicate())."""
        self.swap_map[span(entries)] += 1

    def release(self, entries: Entries) -> None:
        """Use count - 1 for each slot. Slots with count 0 are free again (swap_free())."""
        slots = span(entries)
        self.swap_map[slots] -= 1
        done = pick(entries, self.swap_map[slots] == 0)
        self._stack[self.free : self.free + len(done)] = done[::-1]
        self.free += len(done)

    def delete_from_cache(self, frames: MemMap, pfns: Pfns) -> None:
        """Remove frames from the swap cache: use count - 1, refcount - 1. The caller must hold another reference."""
        at = span(pfns)
        entries = frames.private[at].copy()
        self.cache[span(entries)] = -1
        frames.flags[at] &= ~np.uint32(PG.SWAPCACHE)
        frames.private[at] = 0
        frames.refcount[at] -= 1
        frames.count_swap_cache(pfns, -1)
        self.release(entries)

    def replace(self, frames: MemMap, old: Pfns, new: Pfns) -> None:
        """Let the swap cache entries of `old` point to `new`."""
        self.cache[span(frames.private[span(old)])] = new
        frames.count_swap_cache(old, -1)
        frames.count_swap_cache(new, +1)
