"""Where a process's memory lies, from some of its pages: asked of move_pages(2), which holds the process's memory map
for no more than 16 pages. For callers whom the kernel does not show frames, and for processes too large to be walked.

Pages are drawn at random among the resident ones (pagemap tells which are), evenly from every part of every mapping;
what is said of a node comes with its error."""

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
"""The error is what 95 of 100 estimates are within."""
SAMPLES = 4096
"""Pages that are asked for, about: half the widest error is then 1.5 % of the memory, and the calls take 3 ms."""
_PER_CHUNK = 4
"""At least so many of each chunk (32 MiB of a mapping)."""
_CALL = 256
"""Addresses of one call, after which the process gets at its memory map."""
_STRATUM = 32
"""Mappings of which fewer pages were asked for are one stratum together."""
HIDDEN, NOBODYS = -1, -2


@dataclass(frozen=True, slots=True)
class Estimate:
    """Node → base pages, and what each is within with 95 % confidence (0: exact). `hidden`: the pages that did not
    tell, projected; they are counted as lying where the others do, and their doubt is in `error`. None of `pages` where
    no page told."""

    pages: dict[int, int] | None
    error: dict[int, int]
    hidden: int = 0


@dataclass
class Stratum:
    """Parts of a mapping (or several) that were sampled alike. For each part: `present` pages, of which `asked`;
    `counts`: a row a part, a column a node, then those that are hidden, then those that are nobody's."""

    present: list[int] = field(default_factory=list[int])
    asked: list[int] = field(default_factory=list[int])
    counts: list[NDArray[np.int64]] = field(default_factory=list[NDArray[np.int64]])

    def add(self, other: Stratum) -> None:
        self.present += other.present
        self.asked += other.asked
        self.counts += other.counts


@dataclass(frozen=True, slots=True)
class Sampled:
    """One mapping that has pages."""

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
    """Draw about `samples` of `resident` base pages (the more there are beyond that, as in the hugetlb pool, the
    thinner). Raises NotFound, NotPermitted, TooLarge when `go_on` says no before the end; OSError (ENOSYS, EPERM) where
    move_pages is not to be had."""
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
            if stratum.present or swapped:
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
    """For each address the position of its node in `nodes`, HIDDEN or NOBODYS (the zero page, a device's). Shape
    (n,)."""
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
        out[first : first + len(status)] = [
            position.get(one, NOBODYS) if one >= 0 else NOBODYS if one == -errno.EFAULT else HIDDEN
            for one in status.tolist()
        ]
    return out


def tally(where: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """How many are on each node, hidden, nobody's. Shape (n,) to (nodes + 2,)."""
    slots = np.where(where < 0, nodes - 1 - where, where)
    return np.bincount(slots, minlength=nodes + 2)


def estimate(parts: Sequence[Stratum], nodes: Sequence[int]) -> Estimate:
    """Of the whole. Mappings that were asked little are taken together."""
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
    """(share of each node, half the width of its interval, share that is hidden), of all pages of the stratum."""
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
    """The farther of two Wilson intervals, of what is seen on a node and of that with all that is hidden. Shape (n,) to
    (n,)."""
    return np.maximum(wilson(shares, count), wilson(np.minimum(1.0, shares + unseen), count))


def wilson(share: NDArray[np.float64], count: float) -> NDArray[np.float64]:
    """How far the Wilson interval of shares seen in `count` draws reaches from them, to its farther end. Shape (n,) to
    (n,)."""
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return np.abs(centre - share) + half
