"""Workloads: threads that touch their working sets. The access rate depends on the distance of the memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from backend.emulator.machine import Machine
from backend.emulator.mm.fault import OutOfMemory, SegmentationFault, touch
from backend.emulator.mm.mm import PTE_PRESENT, Indices
from backend.emulator.mm.region import Region
from backend.emulator.tasks.accessed import settle_thread
from backend.emulator.tasks.task import Task, Thread, Use


@dataclass(frozen=True, slots=True)
class Access:
    """How a thread uses a region. `hot`: share of its pages that are touched, from where `begin`, a share of them too,
    says, and on from there by `moves` a second, round and round. `write`: share of the accesses that write. `sample`:
    pages drawn each period."""

    hot: float = 1.0
    write: float = 0.5
    sample: int = 32
    begin: float = 0.0
    moves: float = 0.0


PERIOD = 0.1
"""Simulated seconds between two samples of a thread's accesses."""


def run_thread(
    m: Machine, task: Task, thread: Thread, regions: list[tuple[Region, Access]]
) -> Generator[simpy.Event, Any, None]:
    """Kernel path of a thread: each period it touches a sample of its hot pages. Its `rate` (accesses per second)
    follows from the distances of these pages. Ends when the task exits or a fault fails."""
    generator = np.random.default_rng(m.random.getrandbits(32))
    yield m.env.timeout(PERIOD * float(generator.random()))  # Threads start out of phase.
    while task.alive:
        if task.stopped:
            thread.rate, thread.uses = 0.0, ()
            yield m.env.timeout(PERIOD)
            continue
        cost = accesses = 0.0
        yield from m.balancing.tick(task, thread)
        try:
            for region, access in regions:
                hot = max(1, int(region.pages * access.hot))
                index = np.unique(generator.integers(0, hot, min(access.sample, hot)))
                if begin := _begin(m, region, access):
                    index = np.unique((index + begin) % region.pages)
                writes = generator.random(len(index)) < access.write
                for part, write in ((index[writes], True), (index[~writes], False)):
                    if len(part) and task.alive:
                        yield from touch(m, task, thread, region.start, part, write)
                cost += _cost(m, task, thread, region, index)
                accesses += len(index)
        except (OutOfMemory, SegmentationFault):
            break
        rate, uses = accesses / cost if cost else 0.0, _uses(m, regions)
        if uses != thread.uses and task.mm is not None:
            settle_thread(m, task.mm, thread)
        thread.rate, thread.uses = rate, uses
        thread.ticks += PERIOD * 100  # USER_HZ.
        yield m.env.timeout(PERIOD)
    thread.rate, thread.uses = 0.0, ()


def _begin(m: Machine, region: Region, access: Access) -> int:
    """The first page that is touched now."""
    return int(region.pages * ((access.begin + access.moves * m.now) % 1.0))


def _uses(m: Machine, regions: list[tuple[Region, Access]]) -> tuple[Use, ...]:
    out: list[Use] = []
    drawn = sum(min(access.sample, max(1, int(region.pages * access.hot))) for region, access in regions)
    for region, access in regions:
        hot, begin = max(1, int(region.pages * access.hot)), _begin(m, region, access)
        share = min(access.sample, hot) / drawn
        first = min(hot, region.pages - begin)
        for start, pages in ((begin, first), (0, hot - first)):
            if pages:
                out.append(Use(region.start + start * m.page_size, pages, share * pages / hot))
    return tuple(out)


def _cost(m: Machine, task: Task, thread: Thread, region: Region, index: Indices) -> float:
    """Seconds for one access to each resident page from the thread's CPU."""
    here = m.node_of_cpu[thread.cpu]
    seconds = 0.0
    for vma, local in task.mm.spans(region.start, index) if task.mm else ():
        nids = m.frames.nid[vma.pfns(local[(vma.pte[local] & PTE_PRESENT) != 0])]
        counts = np.bincount(nids, minlength=m.node_slots)
        seconds += sum(
            int(counts[node]) * m.costs.access_at(m.distance(here, node)) for node in np.nonzero(counts)[0].tolist()
        )
    return seconds
