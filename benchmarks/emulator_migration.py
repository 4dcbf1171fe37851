"""Direct migration in the emulator beside a bare numpy sketch of the same data movement (free stack pop, PTE and frame
arrays updated; no locks, no checks): ratios, in one run."""

from __future__ import annotations

import sys
import time

import numpy as np

from backend.emulator.layout import populate
from backend.emulator.machine import Machine, NodeSpec
from backend.emulator.migration.nodes import do_migrate_pages
from backend.emulator.profile import PROFILES
from backend.nodeset import CpuSet, NodeSet


def emulated(profile: str, pages: int) -> float:
    """Pages a second."""
    room = pages + pages // 4 + 4096
    nodes = [NodeSpec(node, room, CpuSet([node])) for node in range(2)]
    distances = {(0, 0): 10, (0, 1): 20, (1, 0): 20, (1, 1): 10}
    m = Machine(PROFILES[profile], nodes, distances, swap_pages=4096, batch=4096)
    task = m.spawn("t", cpu=0)
    vma = m.mmap(task, pages)
    populate(m, vma, np.arange(pages, dtype=np.int64), 0)
    assert task.mm is not None
    began = time.perf_counter()
    left = m.run(do_migrate_pages(m, task.mm, NodeSet([0]), NodeSet([1]), move_all=False))
    took = time.perf_counter() - began
    assert left == 0
    assert vma.nr_node[1] == pages
    return pages / took


def bare(pages: int, batch: int = 4096) -> float:
    """The sketch. Pages a second."""
    total = 2 * pages + 8192
    flags = np.zeros(total, np.uint16)
    refcount, mapcount = np.zeros(total, np.int32), np.zeros(total, np.int32)
    mapping, index = np.zeros(total, np.int32), np.zeros(total, np.int64)
    contents = np.zeros(total, np.uint64)
    free = np.arange(total - 1, pages - 1, -1, dtype=np.int32)
    released = np.empty(total, np.int32)
    pte = np.arange(pages, dtype=np.int64) << 8 | 1
    top, back = len(free), 0
    began = time.perf_counter()
    for start in range(0, pages, batch):
        old = (pte[start : start + batch] >> 8).astype(np.int32)
        top -= len(old)
        new = free[top : top + len(old)]
        contents[new] = contents[old]
        flags[new] = flags[old]
        mapping[new] = mapping[old]
        index[new] = index[old]
        refcount[new] = 1
        mapcount[new] = 1
        pte[start : start + batch] = new.astype(np.int64) << 8 | 1
        for attribute in (flags, refcount, mapcount, mapping, index, contents):
            attribute[old] = 0
        released[back : back + len(old)] = old
        back += len(old)
    return pages / (time.perf_counter() - began)


def main() -> None:
    for pages in [int(word) for word in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        sketch = max(bare(pages) for _ in range(3))
        for profile in ("linux-6", "direct-v8"):
            speed = max(emulated(profile, pages) for _ in range(3))
            print(
                f"{profile:10} {pages:>9} pages: {speed / 1e6:5.2f} M pages/s, {speed / sketch:4.2f} of the bare sketch ({sketch / 1e6:.1f} M)"
            )


if __name__ == "__main__":
    main()
