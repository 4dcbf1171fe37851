"""What tasks do while time runs: they touch their working sets, as fast as their memory is near."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from backend.emulator.fault import OutOfMemory, SegmentationFault, touch
from backend.emulator.mm import PTE_PRESENT, Vma
from backend.emulator.task import Task, Thread

if TYPE_CHECKING:
    from backend.emulator.machine import Machine


@dataclass(frozen=True, slots=True)
class Access:
    """How a region is used: `hot`: the share of it that is touched, `write`: the share of accesses that write,
    `sample`: distinct pages touched each period."""

    hot: float = 1.0
    write: float = 0.5
    sample: int = 32


PERIOD = 0.1
"""Simulated seconds between two samples of a thread's accesses."""


def run_thread(
    m: Machine, task: Task, thread: Thread, regions: list[tuple[Vma, Access]]
) -> Generator[simpy.Event, Any, None]:
    """A thread's life: every period it touches a sample of its hot pages. Its `rate` (accesses per second) follows from
    how far those lie from where it runs."""
    generator = np.random.default_rng(m.random.getrandbits(32))
    yield m.env.timeout(PERIOD * float(generator.random()))
    while task.alive:
        cost = accesses = 0.0
        try:
            for vma, access in regions:
                hot = max(1, int(vma.pages * access.hot))
                index = np.unique(generator.integers(0, hot, min(access.sample, hot)))
                writes = generator.random(len(index)) < access.write
                for part, write in ((index[writes], True), (index[~writes], False)):
                    if len(part) and task.alive:
                        yield from touch(m, task, thread, vma, part, write)
                cost += _cost(m, thread, vma, index)
                accesses += len(index)
        except (OutOfMemory, SegmentationFault):
            break
        thread.rate = accesses / cost if cost else 0.0
        thread.ticks += PERIOD * 100
        yield m.env.timeout(PERIOD)
    thread.rate = 0.0


def _cost(m: Machine, thread: Thread, vma: Vma, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Seconds for one access of each page from where the thread runs."""
    pte = vma.pte[index]
    nids = m.frames.nid[vma.pfns(index[(pte & PTE_PRESENT) != 0])]
    here = m.node_of_cpu[thread.cpu]
    counts = np.bincount(nids, minlength=m.node_slots)
    return sum(
        int(counts[node]) * m.costs.access_at(m.distance(here, node))
        for node in np.nonzero(counts)[0].tolist()
    )
