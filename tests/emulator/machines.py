"""Small machines for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.emulator.boot import boot
from backend.emulator.costs import Costs
from backend.emulator.machine import Machine, MachineSpec, NodeSpec
from backend.emulator.mm.mm import PTE_PRESENT, PTE_WRITE, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.task import Task
from backend.nodeset import CpuSet

DISTANCES = [[10, 16, 22, 28], [16, 10, 28, 22], [22, 28, 10, 16], [28, 22, 16, 10]]


def machine(profile: str = "linux-6", pages: int = 256, nodes: int = 4, **options: Any) -> Machine:
    """Nodes of `pages` frames, with two CPUs each; 64 swap slots unless `swap_pages` says otherwise."""
    specs = [NodeSpec(node, pages, CpuSet([2 * node, 2 * node + 1])) for node in range(nodes)]
    distances = {(a, b): DISTANCES[a % 4][b % 4] for a in range(nodes) for b in range(nodes)}
    options.setdefault("swap_pages", 64)
    return boot(MachineSpec(PROFILES[profile], specs, distances, **options))


def region(m: Machine, task: Task, layout: dict[int, int], pages: int = 0, **options: Any) -> Vma:
    """A mapping with so many written pages on each node, in the order given; contents are watched."""
    total = sum(layout.values())
    vma = mmap(m, task, max(total, pages), **options)
    vma.expected = np.zeros(vma.pages, np.uint64)
    position = 0
    for node, count in layout.items():
        populate(m, vma, np.arange(position, position + count, dtype=np.int64), node)
        position += count
    return vma


def nodes_of(m: Machine, vma: Vma) -> list[int]:
    """The node of each page, -1 where none is present."""
    return [int(m.frames.nid[pte >> 8]) if pte & 1 else -1 for pte in vma.pte.tolist()]


def write_equal(m: Machine, vma: Vma, index: np.ndarray[tuple[int], np.dtype[np.int64]], value: int) -> None:
    """The same value written to those of the pages that can be written to without a fault."""
    at = index[(vma.pte[index] & (PTE_PRESENT | PTE_WRITE)) == PTE_PRESENT | PTE_WRITE]
    vma.mark(m.frames, at, write=True)
    m.frames.contents[vma.pfns(at)] = value
    if vma.expected is not None:
        vma.expected[at] = value


SLOW_WAKE = Costs(wake=1.0)
