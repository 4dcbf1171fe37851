"""Where the pages of a process lie: its VMAs with pages by node, and sums of them. `numa_maps` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from backend.placement.found_pages import FoundPages  # at run time it would import numpy

Kind = Literal["heap", "stack", "anon", "file", "shared", "huge"]
HOLD_NS = 1_000_000
"""Nanoseconds for which a read may hold a process's mmap_lock. A preemption stalls it for longer."""
PAGE_NS = 40
"""Nanoseconds a base page that a read of numa_maps takes: measured 10 to 40 ns on hardware; the slow end counts."""
LARGE = HOLD_NS // PAGE_NS
"""A process with at least this many base pages is large: 98 MiB of 4 KiB pages."""


@dataclass(frozen=True, slots=True)
class VmaPlacement:
    """One line of numa_maps. Counts are in pages of `page_size` bytes; `end` is 0 where maps was not read.

    `pages`: node id → pages there. `counts`: the other numbers by the kernel's names (anon, dirty, mapped, mapmax,
    swapcache, active, writeback, and what newer kernels add).
    """

    start: int
    policy: str
    kind: Kind
    file: str = ""
    page_size: int = 4096
    pages: dict[int, int] = field(default_factory=dict[int, int])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    end: int = 0
    writable: bool = True

    @property
    def bytes_by_node(self) -> dict[int, int]:
        return {node: count * self.page_size for node, count in self.pages.items()}

    @property
    def mapmax(self) -> int:
        """The largest number of mappings of any of its pages; more than 1 means shared with other processes."""
        return self.counts.get("mapmax", 1)

    @property
    def shared_bytes(self) -> int:
        """Upper bound of the bytes that other processes map too. numa_maps has no count of such pages: there, the whole
        VMA counts if one page is shared."""
        if "shared" in self.counts:
            return self.counts["shared"] * self.page_size
        return sum(self.pages.values()) * self.page_size if self.mapmax > 1 else 0


@dataclass(frozen=True, slots=True)
class Placement:
    """The VMAs of one process in address order. `found`: their pages one by one, if the walk was asked to keep them."""

    vmas: tuple[VmaPlacement, ...]
    found: FoundPages | None = field(default=None, compare=False, repr=False)

    @property
    def bytes_by_node(self) -> dict[int, int]:
        return sum_by_node(vma.bytes_by_node for vma in self.vmas)

    def within(self, addresses: tuple[int, int] | None) -> Placement:
        """Only the VMAs that begin in [start, end). None: all VMAs."""
        if addresses is None:
            return self
        start, end = addresses
        return Placement(tuple(vma for vma in self.vmas if start <= vma.start < end), self.found)

    @property
    def policies(self) -> dict[str, int]:
        """Policy text → bytes under it, largest first."""
        out: dict[str, int] = {}
        for vma in self.vmas:
            out[vma.policy] = out.get(vma.policy, 0) + sum(vma.bytes_by_node.values())
        return dict(sorted(out.items(), key=lambda item: -item[1]))


def sum_by_node(parts: Iterable[dict[int, int]]) -> dict[int, int]:
    """Add up node → amount, ascending by node."""
    out: dict[int, int] = {}
    for part in parts:
        for node, amount in part.items():
            out[node] = out.get(node, 0) + amount
    return dict(sorted(out.items()))


def local_share(by_node: dict[int, int], node: int | None) -> float | None:
    """The share of memory that lies on `node`, 0 to 1. None without memory or node."""
    total = sum(by_node.values())
    return by_node.get(node, 0) / total if total and node is not None else None


def weighted_local_share(by_node: Mapping[int, int], places: Mapping[int, float]) -> float | None:
    """The share of memory that is local, 0 to 1. `places`: node → share of the process's CPU time there, in sum 1; the
    memory on a node counts with that share. None without memory or places."""
    total = sum(by_node.values())
    if not total or not places:
        return None
    return sum(by_node.get(node, 0) * share for node, share in places.items()) / total
