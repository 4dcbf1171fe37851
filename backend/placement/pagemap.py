"""The pages of a process one by one: /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst), in chunks.

pagemap_read() (fs/proc/task_mmu.c) drops mmap_lock after every 2 MiB of addresses (PAGEMAP_WALK_SIZE). Without
CAP_SYS_ADMIN all frame numbers read as 0.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backend.kernel import FarKernel, Kernel
from backend.machine.kernel_info import huge_page_size
from backend.placement.frame_nodes import FrameNodes
from backend.placement.placement import HOLD_NS

Addresses = NDArray[np.uint64]

ENTRIES = 8192
"""Entries of one chunk: 32 MiB of 4 KiB pages. Chunks of 512 entries took twice as long."""
_FIRST_AT_ONCE, _LEAST_AT_ONCE = 2048, 512
"""Entries of one read if a rest follows it: the first, and the least. The kernel drops mmap_lock after every 512
entries but retakes it at once. A writer that waits for the lock loses that race for up to 4 ms (RWSEM_WAIT_TIMEOUT in
kernel/locking/rwsem.c), so a read must end before `HOLD_NS`."""
# Bits of an entry (pagemap.rst); bits 0-54 are the frame number.
_PRESENT, _SWAPPED, _FILE, _EXCLUSIVE = (np.uint64(1 << bit) for bit in (63, 62, 61, 56))
_FRAME = np.uint64((1 << 55) - 1)
_KPF_HUGE, _KPF_THP, _KPF_ZERO_PAGE = (np.uint64(1 << bit) for bit in (17, 22, 24))  # uapi/linux/kernel-page-flags.h
_SCAN_FROM = 64 << 20
"""For a mapping of at least this many bytes, PAGEMAP_SCAN finds the populated ranges first."""
_SPARSE = 8
"""A mapping is sparse from where less than this part of it is populated."""
_RANGES = 4096  # ranges that one PAGEMAP_SCAN returns at most
_FEW = 64
"""If a chunk has at most this many distinct candidates, kpageflags is read for each of them."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Resident base pages of a part of a mapping. `addresses`: (n,) ascending. `nodes`: (n,) their nodes, -1 if
    unknown; None if the kernel hides frames from this caller. `shared`: (n,) more than one PTE maps the page.
    `thp_tail`: (n,) tail pages of huge pages, as far as the kernel shows them. `swapped`: number of pages in swap."""

    addresses: Addresses
    nodes: NDArray[np.int32] | None
    shared: NDArray[np.bool_]
    thp_tail: NDArray[np.bool_]
    swapped: int


def rest_for(kernel: Kernel) -> int:
    """Nanoseconds to rest between two reads of a process: long enough for a waiter for mmap_lock to wake up."""
    return 100_000 if kernel.traits.reading_stalls else 0


class PageMap:
    """One process's pagemap. `frame_nodes`: the node of each frame; None: nodes are not looked up. `find_thp_tails`:
    whether to look for huge pages. `rest`: nanoseconds of rest after each read, so that the process gets mmap_lock."""

    def __init__(
        self, kernel: Kernel, pid: int, frame_nodes: FrameNodes | None, find_thp_tails: bool = False, rest: int = 0
    ) -> None:
        self.rest = rest
        self._rested_at = 0
        self._far = kernel if isinstance(kernel, FarKernel) else None
        self._at_once = _FIRST_AT_ONCE if rest and self._far is None else ENTRIES
        self.kernel, self.pid, self.frame_nodes, self.find_thp_tails = kernel, pid, frame_nodes, find_thp_tails
        self._scan = True
        self._zero: set[int] = set()
        self._not_zero: set[int] = set()

    @cached_property
    def huge(self) -> int:
        """Base pages of a transparent huge page."""
        return max(1, huge_page_size(self.kernel) // self.kernel.page_size)

    def walk(self, start: int, end: int) -> Iterator[Pages]:
        """All resident pages from `start` to `end`, in chunks. No chunk ends within a transparent huge page, if these
        are looked for. The zero page is left out, as in numa_maps (vm_normal_page()). Raises OSError (ENOENT, ESRCH,
        EACCES …)."""
        entry, last = start // self.kernel.page_size, end // self.kernel.page_size
        for count, populated, pages in self._parts(entry, last):
            entry += count
            if populated:
                yield pages
            if populated * _SPARSE < count:
                break
        # Sparse: where the pages are is asked for. In dense memory the question would cost a third more.
        for low, high in self._populated(entry, last):
            yield from (pages for _, populated, pages in self._parts(low, high) if populated)

    def _parts(self, entry: int, last: int) -> Iterator[tuple[int, int, Pages]]:
        """Part by part: (entries, how many of them are in memory or swap, pages). With rests, what is read at once is
        also worked on at once: the work is the rest. Parts begin at multiples of their size, so none ends within a
        transparent huge page."""
        while entry < last:
            unit = self._at_once
            while self.find_thp_tails and unit % self.huge:
                unit *= 2
            count = min(unit - entry % unit, last - entry)
            pages = self._read(entry, count)
            yield count, len(pages.addresses) + pages.swapped, pages
            entry += count

    def resident(self, addresses: Addresses) -> NDArray[np.bool_]:
        """Which of these ascending addresses are resident now. Raises OSError."""
        return (self._entries_of(addresses) & _PRESENT) != 0

    def nodes(self, addresses: Addresses) -> NDArray[np.int32] | None:
        """The nodes of these ascending addresses, -1 if not resident. None if the kernel hides frames or the node of
        one of them is unknown. Raises OSError."""
        entries = self._entries_of(addresses)
        present = (entries & _PRESENT) != 0
        frames = entries[present] & _FRAME
        out = np.full(len(addresses), -1, np.int32)
        if len(frames):
            if self.frame_nodes is None or not frames.any():
                return None
            out[present] = self.frame_nodes.of(frames)
            if (out[present] < 0).any():
                return None
        return out

    def frames(self, addresses: Addresses) -> NDArray[np.uint64] | None:
        """The frames of these ascending addresses, 0 if not resident. None if the kernel hides them. Raises OSError."""
        entries = self._entries_of(addresses)
        present = (entries & _PRESENT) != 0
        frames = np.where(present, entries & _FRAME, np.uint64(0))
        return None if present.any() and not frames.any() else frames

    def _entries_of(self, addresses: Addresses) -> NDArray[np.uint64]:
        size = self.kernel.page_size
        out = np.zeros(len(addresses), np.uint64)
        position = 0
        while position < len(addresses):
            first = int(addresses[position]) // size
            end = int(np.searchsorted(addresses, np.uint64((first + ENTRIES) * size)))
            count = int(addresses[end - 1]) // size - first + 1
            entries = self._raw(first, count)
            if count > end - position:
                entries = entries[(addresses[position:end] // np.uint64(size)).view(np.int64) - first]
            out[position:end] = entries
            position = end
        return out

    def together(self, ranges: list[tuple[int, int]]) -> list[Pages]:
        """The pages of several small ranges (start, end) from one read; one result a range. The ranges ascend and span
        at most `ENTRIES` entries. Raises OSError."""
        base = self.kernel.page_size
        first = ranges[0][0] // base
        entries = self._raw(first, ranges[-1][1] // base - first)
        bounds = np.array(ranges, np.int64) // base - first
        inside = np.zeros(len(entries) + 1, np.int8)
        np.add.at(inside, bounds[:, 0], 1)
        np.add.at(inside, bounds[:, 1], -1)
        at = np.nonzero(np.cumsum(inside[:-1]))[0]
        pages = self._pages(entries[at], at.astype(np.uint64) + np.uint64(first))
        cuts = np.searchsorted(pages.addresses, np.array(ranges, np.uint64)).tolist()
        gone = (entries & _SWAPPED) != 0
        return [
            Pages(
                pages.addresses[low:high],
                pages.nodes[low:high] if pages.nodes is not None else None,
                pages.shared[low:high],
                pages.thp_tail[low:high],
                int(np.count_nonzero(gone[start:end])),
            )
            for (low, high), (start, end) in zip(cuts, bounds.tolist(), strict=True)
        ]

    def _read(self, entry: int, count: int) -> Pages:
        return self._pages(self._raw(entry, count), np.arange(entry, entry + count, dtype=np.uint64))

    def _raw(self, entry: int, count: int) -> NDArray[np.uint64]:
        """`count` entries. The kernel returns less at the end of the address space: zeros fill the rest."""
        path = f"/proc/{self.pid}/pagemap"
        if self.rest and self._far is not None:  # the agent rests: the way there holds nobody up
            raw = self._far.read_resting(path, entry * 8, count * 8, self.rest)
        elif self.rest:
            raw = b"".join(self._pieces(path, entry * 8, count * 8))
        else:
            raw = self.kernel.read(path, entry * 8, count * 8)
        if len(raw) == count * 8:
            return np.frombuffer(raw, dtype=np.uint64)
        entries = np.zeros(count, np.uint64)
        entries[: len(raw) // 8] = np.frombuffer(raw[: len(raw) // 8 * 8], dtype=np.uint64)
        return entries

    def _pieces(self, path: str, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            wanted = min(self._at_once * 8, end - offset)
            part = self._read_and_rest(path, offset, wanted)
            yield part
            if len(part) < wanted:
                return
            offset += wanted

    def _read_and_rest(self, path: str, offset: int, size: int) -> bytes:
        """Rests until it is long enough since the last read: work on what was read counts as rest, as it needs no lock.
        Then reads, and finds out how much may be read at once on this machine."""
        began = self.kernel.clock()
        if began < self._rested_at:
            self.kernel.pause(self._rested_at - began)
            began = self.kernel.clock()
        part = self.kernel.read(path, offset, size)
        ended = self.kernel.clock()
        self._rested_at = ended + self.rest
        if ended - began > HOLD_NS // 2:
            self._at_once = max(_LEAST_AT_ONCE, self._at_once // 2)
        elif len(part) == self._at_once * 8 and ended - began < HOLD_NS // 4:
            self._at_once = min(ENTRIES, self._at_once * 2)
        return part

    def _pages(self, entries: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> Pages:
        present = (entries & _PRESENT) != 0
        if present.all():
            swapped = 0
        else:
            swapped = int(np.count_nonzero(entries & _SWAPPED))
            entries, numbers = entries[present], numbers[present]
        exclusive = (entries & _EXCLUSIVE) != 0
        frames = entries & _FRAME
        nodes: NDArray[np.int32] | None = None
        if len(frames) and frames.any():  # all 0: hidden, the caller lacks CAP_SYS_ADMIN
            if not exclusive.all():
                kept = ~self._zero_pages(entries, frames)
                numbers, frames, exclusive = numbers[kept], frames[kept], exclusive[kept]
            nodes = self.frame_nodes.of(frames) if self.frame_nodes is not None else None
        thp_tail = self._thp_tails(numbers, frames) if self.find_thp_tails else np.zeros(len(frames), np.bool_)
        return Pages(numbers * np.uint64(self.kernel.page_size), nodes, ~exclusive, thp_tail, swapped)

    def _zero_pages(self, entries: NDArray[np.uint64], frames: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which entries map the zero page, small or huge. Such an entry has neither the file nor the exclusive bit, and
        its frame occurs many times. kpageflags distinguishes it from pages that KSM merged."""
        zero = np.zeros(len(frames), np.bool_)
        candidates = np.nonzero((entries & (_FILE | _EXCLUSIVE)) == 0)[0]
        if not len(candidates):
            return zero
        some = frames[candidates]
        values, counts = np.unique(some, return_counts=True)
        heads = values[(values % self.huge == 0) & np.isin(values + np.uint64(self.huge - 1), values)]
        suspects = values if len(values) <= _FEW and not self._zero else values[counts > 1]
        # Python's sets: np.union1d imports numpy.ma, which takes as long as a small command.
        unknown = sorted({*suspects.tolist(), *heads.tolist()} - self._zero - self._not_zero)
        for frame, is_zero in zip(unknown, self._have(unknown, _KPF_ZERO_PAGE), strict=True):
            (self._zero if is_zero else self._not_zero).add(frame)
        for frame in self._zero:
            size = self.huge if frame in heads.tolist() else 1
            zero[candidates[(some >= frame) & (some < frame + size)]] = True
        return zero

    def _thp_tails(self, numbers: NDArray[np.uint64], frames: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tail pages of huge pages. A candidate is an aligned run of as many pages as a huge page has, contiguous in
        addresses and in frames; kpageflags of its first frame decides."""
        size = self.huge
        thp_tail = np.zeros(len(numbers), np.bool_)
        if size < 2 or len(numbers) < size or not frames.any():
            return thp_tail
        heads = np.nonzero(((numbers | frames)[: 1 - size] & np.uint64(size - 1)) == 0)[0]
        if len(heads):
            breaks = np.zeros(len(numbers), np.int64)
            breaks[1:] = np.cumsum((np.diff(numbers) != 1) | (np.diff(frames) != 1))
            runs: list[int] = heads[breaks[heads] == breaks[heads + size - 1]].tolist()
            for head, is_huge in zip(runs, self._have(frames[runs].tolist(), _KPF_HUGE | _KPF_THP), strict=True):
                thp_tail[head + 1 : head + size] = is_huge
        return thp_tail

    def _have(self, frames: list[int], flags: np.uint64) -> list[bool]:
        """Whether /proc/kpageflags shows one of these flags of each frame; False where it cannot be read."""
        path = "/proc/kpageflags"
        if self._far is not None and frames:
            return [bool(one & flags) for one in self._far.read_entries(path, frames)]
        return [self._has(self.kernel, path, frame, flags) for frame in frames]

    @staticmethod
    def _has(kernel: Kernel, path: str, frame: int, flags: np.uint64) -> bool:
        try:
            raw = kernel.read(path, frame * 8, 8)
        except OSError:
            return False
        return len(raw) == 8 and bool(np.frombuffer(raw, np.uint64)[0] & flags)

    def _populated(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The populated ranges, in entries: from PAGEMAP_SCAN (Linux 6.7), rounded out to huge pages. Without it, the
        whole range."""
        base = self.kernel.page_size
        if first >= last:
            return
        if not self._scan or (last - first) * base < _SCAN_FROM:
            yield first, last
            return
        position = first
        pending: tuple[int, int] | None = None
        while position < last:
            try:
                reached, raw = self.kernel.pagemap_scan(self.pid, position * base, last * base, _RANGES)
            except OSError as exc:
                if exc.errno in (errno.ESRCH, errno.ENOENT, errno.EACCES):
                    raise
                self._scan = False
                break
            for low, high, _ in np.frombuffer(raw, np.uint64).reshape(-1, 3).tolist():
                low = max(first, low // base // self.huge * self.huge)
                high = min(last, -(-high // (base * self.huge)) * self.huge)
                if pending is not None and low <= pending[1]:
                    pending = (pending[0], max(high, pending[1]))
                else:
                    if pending is not None:
                        yield pending
                    pending = (low, high)
            if reached <= position * base:
                break
            position = reached // base
        if position < last:
            low = position if pending is None else min(position, pending[1])
            pending = (pending[0], last) if pending is not None and low <= pending[1] else (low, last)
        if pending is not None:
            yield pending
