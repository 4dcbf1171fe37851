"""Finds the pages of a process that are on a node: by their frames if the kernel shows them, else by move_pages(2)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backend.errors import NotSupported
from backend.kernel import Kernel
from backend.placement.found_pages import FRESH, FoundPages
from backend.placement.frame_nodes import FrameNodes, read_frame_nodes
from backend.placement.pagemap import ENTRIES, Addresses, PageMap, Pages
from backend.placement.placement import Placement, VmaPlacement
from backend.placement.reader import read_gently
from backend.plan.remap import Move
from backend.process.page_calls import query
from backend.process.process import process_error

_WITHOUT_PAGEMAP = 1 << 40
"""Bytes of the largest mapping that is walked page by page if pagemap cannot be read."""
_NO_PAGEMAP = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pages of one size that are on the source node of a move now, ascending. `thp_tail`: tail pages of a transparent
    huge page; they move with its head."""

    move: Move
    page_size: int
    addresses: Addresses
    thp_tail: NDArray[np.bool_]


@dataclass(slots=True)
class SourcePages:
    """The pages of one process. `check`: raises if it is no longer the same process. `hidden`: bytes that NUMA
    balancing hid from queries by move_pages."""

    kernel: Kernel
    pid: int
    check: Callable[[], None]
    frames: FrameNodes | None
    hidden: int = 0
    found: FoundPages | None = None
    """Pages that were found a moment ago."""

    def placement(self, resident: int, keep: int = 0) -> Placement:
        """The placement with the ends of mappings, read page by page for large processes if the kernel allows it.
        `keep`: so many pages are kept as they were found. Raises NotFound, NotPermitted, ParseError."""
        return read_gently(self.kernel, self.pid, resident, lambda: self.frames, with_maps=True, keep=keep)

    def on_node(self, vma: VmaPlacement, move: Move) -> Iterator[Chunk]:
        """The pages of a mapping on the source of a move, in chunks. An address is that of a base page, or of a huge
        page in hugetlb mappings. Raises NotFound, NotPermitted, what `check` raises."""
        try:
            for addresses, thp_tail in self._resident(vma, move.source):
                if len(addresses):
                    yield Chunk(move, vma.page_size, addresses, thp_tail)
        except OSError as exc:
            raise process_error(self.kernel, self.pid, exc) from None

    def _resident(self, vma: VmaPlacement, node: int) -> Iterator[tuple[Addresses, NDArray[np.bool_]]]:
        began = False
        try:
            for part in self._parts(vma):
                began = True
                addresses, nodes, thp_tail = part.addresses, part.nodes, part.thp_tail
                if vma.page_size > self.kernel.page_size and len(addresses):
                    size = np.uint64(vma.page_size)
                    addresses, first = np.unique(addresses // size * size, return_index=True)
                    nodes = nodes[first] if nodes is not None else None
                    thp_tail = np.zeros(len(addresses), np.bool_)
                if nodes is None or (nodes < 0).any():
                    addresses = self._on(addresses, node)
                    yield addresses, np.zeros(len(addresses), np.bool_)
                else:
                    yield addresses[nodes == node], thp_tail[nodes == node]
        except OSError as exc:
            if began or exc.errno not in _NO_PAGEMAP or vma.end - vma.start > _WITHOUT_PAGEMAP:
                raise
            step = ENTRIES * vma.page_size
            for start in range(vma.start, vma.end, step):
                every = np.arange(start, min(start + step, vma.end), vma.page_size, dtype=np.uint64)
                addresses = self._on(every, node)
                yield addresses, np.zeros(len(addresses), np.bool_)

    def _parts(self, vma: VmaPlacement) -> Iterator[Pages]:
        """The resident pages of a mapping: those that were found a moment ago, else, and as soon as they are out of
        date, by a walk."""
        start = vma.start
        if self.found is not None and vma.start in self.found.by_vma:
            for part in self.found.by_vma[vma.start]:
                if not 0 <= self.kernel.clock() - self.found.at < FRESH:
                    break
                yield part
                if len(part.addresses):
                    start = int(part.addresses[-1]) + self.kernel.page_size
            else:
                return
        yield from PageMap(self.kernel, self.pid, self.frames, find_thp_tails=True).walk(start, vma.end)

    def where(self, addresses: Addresses) -> NDArray[np.int32]:
        """The nodes of ascending addresses; negative for pages that are hidden or not resident. Raises NotFound,
        NotPermitted, what `check` raises."""
        try:
            nodes = PageMap(self.kernel, self.pid, self.frames).nodes(addresses)
        except OSError as exc:
            if exc.errno not in _NO_PAGEMAP:
                raise process_error(self.kernel, self.pid, exc) from None
            nodes = None
        return query(self.kernel, self.pid, addresses, self.check) if nodes is None else nodes

    def _on(self, addresses: Addresses, node: int) -> Addresses:
        self.check()
        if not self.kernel.capabilities()["move_pages"].available:
            raise NotSupported(
                "the node of a page cannot be read here (no move_pages, and frame numbers are for root only)",
                "run numatui as root",
            )
        where = query(self.kernel, self.pid, addresses, self.check)
        # A page that awaits a NUMA hinting fault answers ENOENT; a huge page answers EFAULT, as an untouched one does
        # (follow_page_pte(), no_page_table() in mm/gup.c of 6.1).
        self.hidden += (
            int(np.count_nonzero((where == -errno.ENOENT) | (where == -errno.EFAULT))) * self.kernel.page_size
        )
        return addresses[where == node]


def source_pages(kernel: Kernel, pid: int, check: Callable[[], None]) -> SourcePages:
    """The pages of one process of this kernel. Never raises."""
    return SourcePages(kernel, pid, check, read_frame_nodes(kernel))


def gathered(chunks: Iterable[Chunk], enough: Callable[[], int]) -> Iterator[Chunk]:
    """The same pages, with small chunks joined until they have `enough` bytes."""
    pending: list[Chunk] = []
    count = 0
    for chunk in chunks:
        if pending and chunk.page_size != pending[0].page_size:
            yield _joined(pending)
            pending, count = [], 0
        pending.append(chunk)
        count += len(chunk.addresses)
        if count * chunk.page_size >= enough():
            yield _joined(pending)
            pending, count = [], 0
    if count:
        yield _joined(pending)


def _joined(chunks: list[Chunk]) -> Chunk:
    first = chunks[0]
    if len(chunks) == 1:
        return first
    addresses, thp_tail = (
        np.concatenate(parts) for parts in zip(*((c.addresses, c.thp_tail) for c in chunks), strict=True)
    )
    if any(one.addresses[-1] >= other.addresses[0] for one, other in pairwise(chunks)):
        order = np.argsort(addresses, kind="stable")  # undo yields chunks in descending order
        addresses, thp_tail = addresses[order], thp_tail[order]
    return Chunk(first.move, first.page_size, addresses, thp_tail)
