"""DAMON's monitor of one address space (mm/damon/core.c, mm/damon/vaddr.c): regions of which one page each is looked
at, joined and split by what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import simpy
from numpy.typing import NDArray

from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.mm.mm import PTE_PRESENT, PTE_YOUNG, Vma
from backend.emulator.tasks.accessed import expected, generator
from backend.emulator.tasks.task import Task, Thread

_CHECK = 1e-6
"""Seconds of CPU that a look at one page takes."""
_THREE = 3
_TENTH = 10
Addresses = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Attributes:
    """damon_attrs. Seconds, and numbers of regions."""

    sample: float
    aggregation: float
    update: float
    least: int
    most: int


@dataclass(slots=True)
class Region:
    """damon_region: [start, end) with the accesses of the last aggregation."""

    start: int
    end: int
    accesses: int = 0
    last: int = 0
    age: int = 0


class Monitor:
    """kdamond_fn(). `thread`: the kernel thread, which is charged. `aggregated`: happens at the end of each
    aggregation, when `seen` has its regions."""

    def __init__(self, m: Machine, task: Task, attributes: Attributes, thread: Thread) -> None:
        assert task.mm is not None
        self.m, self.task, self.mm, self.attributes, self.thread = m, task, task.mm, attributes, thread
        self.running = True
        self.seen: tuple[Region, ...] = ()
        self.aggregated: simpy.Event = m.env.event()
        self._regions = self._first()
        self._last_number = 0

    def run(self) -> Events:
        """Kernel path, until it is switched off or the task has ended."""
        attributes = self.attributes
        looks = max(1, round(attributes.aggregation / attributes.sample))
        looked = updated = 0.0
        while self.running and self.task.alive:
            counts = np.zeros(len(self._regions), np.int64)
            for _ in range(looks):
                pages, begun = self._prepare(), self.m.now
                yield self.m.env.timeout(attributes.sample, "kdamond")
                if not (self.running and self.task.alive):
                    break
                counts += self._check(pages, self.m.now - begun)
                looked += len(counts) * _CHECK
            else:
                self.thread.ticks += looked * 100
                looked = 0.0
                self._aggregate(counts, looks)
                updated += attributes.aggregation
                if updated >= attributes.update:
                    updated = 0.0
                    self._follow_mappings()
        self.running = False
        if not self.aggregated.triggered:
            self.aggregated.succeed()

    def _prepare(self) -> Addresses:
        """damon_va_prepare_access_checks(): a page of each region loses its accessed bit."""
        size = self.mm.page_size
        starts = np.array([one.start for one in self._regions], np.int64)
        pages = np.array([(one.end - one.start) // size for one in self._regions], np.int64)
        chosen = starts + (generator(self.m).random(len(starts)) * pages).astype(np.int64) * size
        for vma, at in self._ptes(chosen):
            vma.pte[at] &= ~np.int64(PTE_YOUNG)
        return chosen

    def _check(self, pages: Addresses, seconds: float) -> NDArray[np.bool_]:
        """damon_va_check_accesses()."""
        chance = -np.expm1(-expected(self.m, self.mm, pages, seconds))
        accessed = generator(self.m).random(len(pages)) < chance
        out = np.zeros(len(pages), np.bool_)
        for vma, at in self._ptes(pages):
            low, high = np.searchsorted(pages, [vma.start, vma.end])
            pte = vma.pte[at]
            present = (pte & PTE_PRESENT) != 0
            out[low:high] = present & (((pte & PTE_YOUNG) != 0) | accessed[low:high])
        return out

    def _ptes(self, addresses: Addresses) -> Iterator[tuple[Vma, Addresses]]:
        """Of ascending addresses: the mappings, and the pages in each."""
        for vma in self.mm.vmas:
            low, high = np.searchsorted(addresses, [vma.start, vma.end])
            if low < high:
                yield vma, (addresses[low:high] - vma.start) // self.mm.page_size

    def _aggregate(self, counts: NDArray[np.int64], looks: int) -> None:
        """What follows an aggregation: merge, let schemes see the regions, reset, split."""
        for region, count in zip(self._regions, counts.tolist(), strict=True):
            region.accesses = count
        self._merge(max(1, looks // _TENTH))
        self.seen = tuple(Region(one.start, one.end, one.accesses, one.last, one.age) for one in self._regions)
        happened, self.aggregated = self.aggregated, self.m.env.event()
        happened.succeed()
        for region in self._regions:
            region.last, region.accesses = region.accesses, 0
        self._split()

    def _merge(self, threshold: int) -> None:
        """kdamond_merge_regions()."""
        largest = max(self.mm.page_size, sum(one.end - one.start for one in self._regions) // self.attributes.least)
        for one in self._regions:
            one.age = 0 if abs(one.accesses - one.last) > threshold else one.age + 1
        out: list[Region] = []
        for one in self._regions:
            before = out[-1] if out else None
            if (
                before is not None
                and before.end == one.start
                and abs(before.accesses - one.accesses) <= threshold
                and one.end - before.start <= largest
            ):
                size, more = before.end - before.start, one.end - one.start
                for name in ("accesses", "last", "age"):
                    setattr(before, name, (getattr(before, name) * size + getattr(one, name) * more) // (size + more))
                before.end = one.end
            else:
                out.append(one)
        self._regions = out

    def _split(self) -> None:
        """kdamond_split_regions()."""
        number = len(self._regions)
        if number > self.attributes.most // 2:
            return
        parts = _THREE if number == self._last_number and number < self.attributes.most // _THREE else 2
        self._last_number = number
        out: list[Region] = []
        for one in self._regions:
            rest = one
            for _ in range(parts - 1):
                size = rest.end - rest.start
                cut = int(generator(self.m).integers(1, _TENTH)) * size // _TENTH
                cut -= cut % self.mm.page_size
                if not 0 < cut < size:
                    break
                out.append(Region(rest.start, rest.start + cut, 0, rest.last, rest.age))
                rest = Region(rest.start + cut, rest.end, 0, rest.last, rest.age)
            out.append(rest)
        self._regions = out

    def _first(self) -> list[Region]:
        """__damon_va_init_regions(): three areas between the two largest gaps, in pieces of about the same size."""
        areas = three_areas([(vma.start, vma.end) for vma in self.mm.vmas])
        size = max(self.mm.page_size, sum(end - start for start, end in areas) // self.attributes.least)
        out: list[Region] = []
        for start, end in areas:
            number = max(1, (end - start) // size)
            step = (end - start) // number // self.mm.page_size * self.mm.page_size
            edges = [*(start + step * at for at in range(number)), end]
            out += [Region(one, other) for one, other in pairwise(edges)]
        return out

    def _follow_mappings(self) -> None:
        """damon_va_update(): regions are cut to the areas that there are now."""
        out: list[Region] = []
        for start, end in three_areas([(vma.start, vma.end) for vma in self.mm.vmas]):
            inside = [one for one in self._regions if one.start < end and one.end > start]
            if not inside:
                out.append(Region(start, end))
                continue
            inside[0].start, inside[-1].end = start, end
            out += inside
        self._regions = out


def three_areas(mappings: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """__damon_va_three_regions(): what is left of the address space without its two largest gaps."""
    if not mappings:
        return []
    gaps = sorted(
        ((other[0] - one[1], one[1], other[0]) for one, other in pairwise(mappings)),
        reverse=True,
    )[:2]
    edges = [mappings[0][0], *sorted(edge for gap, *both in gaps if gap for edge in both), mappings[-1][1]]
    return list(zip(edges[::2], edges[1::2], strict=True))
