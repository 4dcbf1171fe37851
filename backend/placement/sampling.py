"""Estimate a process's placement from a random sample of its pages, for callers without access to frame numbers.

move_pages(2) tells the node of each sampled page and holds mmap_lock for at most 16 pages (DO_PAGES_STAT_CHUNK_NR in
mm/migrate.c). The sample is drawn from the pages that pagemap shows as resident, evenly from every part of every
mapping. Every estimate has an error."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.kernel import Kernel
from backend.placement.pagemap import PageMap, rest_for
from backend.placement.placement_walk import Mapping, TooLarge, walk_mappings
from backend.process.page_calls import call_move_pages
from backend.process.process import process_error

Z = 1.96
"""Quantile of the normal distribution for a two-sided confidence of 95 %."""
SAMPLES = 4096
"""Pages of a sample, about. The error is then at most ±1.5 % of the memory, and the calls take 3 ms."""
_PER_CHUNK = 4
"""Least number of sampled pages of each chunk (32 MiB of a mapping)."""
_CALL = 256
"""Addresses of one call. A rest follows, in which the process gets mmap_lock."""
_STRATUM = 32
"""Mappings with fewer sampled pages than this form one stratum together."""
# HIDDEN: the page did not tell its node. NOBODYS: it is on no node (the zero page, a device mapping).
HIDDEN, NOBODYS = -1, -2


@dataclass(frozen=True, slots=True)
class Estimate:
    """`pages`: node → base pages; None if no page told its node. `error`: node → ± base pages with 95 % confidence (0:
    exact). `hidden`: projected number of pages that did not tell their node. They are distributed like the others, and
    `error` includes that uncertainty."""

    pages: dict[int, int] | None
    error: dict[int, int]
    hidden: int = 0


@dataclass
class Stratum:
    """Parts of one or more mappings that were sampled alike. For each part: `present`: resident pages; `asked`: sampled
    pages; `counts`: (nodes + 2,) sampled pages on each node, hidden, on no node."""

    present: list[int] = field(default_factory=list[int])
    asked: list[int] = field(default_factory=list[int])
    counts: list[NDArray[np.int64]] = field(default_factory=list[NDArray[np.int64]])

    def add(self, other: Stratum) -> None:
        self.present += other.present
        self.asked += other.asked
        self.counts += other.counts


@dataclass(frozen=True, slots=True)
class Sampled:
    """One mapping. `swapped`: base pages in swap."""

    mapping: Mapping
    stratum: Stratum
    swapped: int


def sample(
    kernel: Kernel,
    pid: int,
    nodes: Sequence[int],
    rng: np.random.Generator,
    resident: int,
    go_on: Callable[[], bool] = lambda: True,
    samples: int = SAMPLES,
) -> list[Sampled]:
    """Draw about `samples` of `resident` base pages. RSS does not count hugetlb pages: if more pages are found than
    `resident`, later chunks are sampled less densely. Raises NotFound, NotPermitted; TooLarge if `go_on` returns False
    before the end; OSError (ENOSYS, EPERM) if move_pages is not available."""
    pages = PageMap(kernel, pid, None, rest=rest_for(kernel))
    seen = 0
    drawn: list[tuple[Stratum, int]] = []
    addresses: list[NDArray[np.uint64]] = []
    out: list[Sampled] = []
    try:
        for mapping, found in walk_mappings(kernel, pid, pages):
            stratum, swapped = Stratum(), 0
            for part in found:
                if not go_on():
                    raise TooLarge
                swapped += part.swapped
                here = len(part.addresses)
                seen += here
                count = min(here, max(_PER_CHUNK, round(samples * here / max(resident, seen))))
                if count:
                    addresses.append(rng.choice(part.addresses, count, replace=False, shuffle=False))
                    drawn.append((stratum, count))
                    stratum.present.append(here)
            out.append(Sampled(mapping, stratum, swapped))
    except OSError as exc:
        raise process_error(kernel, pid, exc) from None
    where = ask(kernel, pid, np.concatenate(addresses), nodes, go_on) if addresses else np.zeros(0, np.int64)
    position = 0
    for stratum, count in drawn:
        stratum.asked.append(count)
        stratum.counts.append(tally(where[position : position + count], len(nodes)))
        position += count
    return out


def ask(
    kernel: Kernel, pid: int, addresses: NDArray[np.uint64], nodes: Sequence[int], go_on: Callable[[], bool]
) -> NDArray[np.int64]:
    """For each address the index of its node in `nodes`, HIDDEN or NOBODYS. Shape (n,). Raises NotFound, TooLarge,
    OSError."""
    out = np.empty(len(addresses), np.int64)
    position = {node: index for index, node in enumerate(nodes)}
    rest = rest_for(kernel)
    for first in range(0, len(addresses), _CALL):
        if not go_on():
            raise TooLarge
        status, problem = call_move_pages(kernel, pid, addresses[first : first + _CALL], None, 0)
        if problem is not None:
            raise process_error(kernel, pid, problem) if problem.errno == errno.ESRCH else problem
        if rest:
            kernel.pause(rest)
        # do_pages_stat_array() (mm/migrate.c): EFAULT for the zero page and device mappings; ENOENT also for a resident
        # page that waits for a NUMA hinting fault.
        out[first : first + len(status)] = [
            position.get(one, NOBODYS) if one >= 0 else NOBODYS if one == -errno.EFAULT else HIDDEN
            for one in status.tolist()
        ]
    return out


def tally(where: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """Number of pages on each node, hidden, on no node. Shape (n,) to (nodes + 2,)."""
    slots = np.where(where < 0, nodes - 1 - where, where)
    return np.bincount(slots, minlength=nodes + 2)


def estimate(parts: Sequence[Stratum], nodes: Sequence[int]) -> Estimate:
    """The estimate for all strata. Strata with fewer than `_STRATUM` sampled pages are merged."""
    strata: list[Stratum] = []
    small = Stratum()
    for one in parts:
        if sum(one.asked) >= _STRATUM:
            strata.append(one)
        else:
            small.add(one)
    if small.present:
        strata.append(small)
    pages = np.zeros(len(nodes))
    squares = np.zeros(len(nodes))
    doubt = np.zeros(len(nodes))
    hidden = told = 0.0
    for one in strata:
        share, halves, unseen = _stratum(one, len(nodes))
        total = sum(one.present)
        told += total if share.sum() else 0
        pages += share * total
        squares += (halves * total) ** 2
        doubt += unseen * total * np.maximum(share, 1 - share)
        hidden += unseen * total
    if not told:
        return Estimate(None if hidden else {}, {}, round(hidden))
    error = np.sqrt(squares) + doubt
    return Estimate(
        {node: round(amount) for node, amount in zip(nodes, pages.tolist(), strict=True) if amount >= 0.5},
        {node: math.ceil(amount) for node, amount in zip(nodes, error.tolist(), strict=True) if amount > 0},
        round(hidden),
    )


def _stratum(one: Stratum, nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(share of each node, half the width of its interval, hidden share), of all pages of the stratum."""
    present, asked = np.array(one.present, float), np.array(one.asked, float)
    total = present.sum()
    counts = (np.array(one.counts) * (present / asked)[:, None]).sum(axis=0) / total
    unseen = float(counts[nodes])
    seen = counts[:nodes] + counts[nodes] * _normed(counts[:nodes])
    spread = float((present**2 * (1 - asked / present) / asked).sum())
    halves = np.zeros(nodes)
    if spread > 0:
        halves = reach(counts[:nodes], unseen, total**2 / spread)
    return seen, halves, unseen


def _normed(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    total = shares.sum()
    return shares / total if total > 0 else shares


def reach(shares: NDArray[np.float64], unseen: float, count: float) -> NDArray[np.float64]:
    """The wider of two Wilson intervals: of the share seen on a node, and of that plus the hidden share. Shape (n,) to
    (n,)."""
    return np.maximum(wilson(shares, count), wilson(np.minimum(1.0, shares + unseen), count))


def wilson(share: NDArray[np.float64], count: float) -> NDArray[np.float64]:
    """Distance from each share, seen in `count` draws, to the farther end of its Wilson score interval. Shape (n,) to
    (n,)."""
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return np.abs(centre - share) + half
