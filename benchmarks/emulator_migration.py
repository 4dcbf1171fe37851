"""Migration in the emulator beside a bare numpy sketch of the same data movement (free stack pop, PTE and frame arrays
updated; no locks, no checks): ratios, in one run. Then what else moves pages, beside direct migration of anonymous
ones.

Numbers of pages as arguments, 10000 to 1000000 by default."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from backend.emulator.boot import boot
from backend.emulator.costs import Costs
from backend.emulator.machine import Machine, MachineSpec, NodeSpec
from backend.emulator.migration.nodes import do_migrate_pages
from backend.emulator.mm.mm import VM
from backend.emulator.mm.mmap import mmap
from backend.emulator.profile import PROFILES
from backend.emulator.scenario.layout import populate
from backend.emulator.storage.file_io import create
from backend.emulator.storage.filesystem import Filesystem
from backend.emulator.tasks.life import spawn
from backend.nodeset import CpuSet, NodeSet

PROFILE_NAMES = ("linux-6", "direct-v8")
FEW_SLOTS = 4096


def machine(profile: str, pages: int, swap: int, scattered: bool) -> Machine:
    """Two nodes with room for `pages`. `scattered`: their free frames are in no order."""
    room = pages + pages // 4 + 4096
    nodes = [NodeSpec(node, room, CpuSet([node])) for node in range(2)]
    distances = {(0, 0): 10, (0, 1): 20, (1, 0): 20, (1, 1): 10}
    m = boot(
        MachineSpec(
            PROFILES[profile],
            nodes,
            distances,
            swap_pages=swap,
            batch=4096,
            costs=Costs(swap_write=0.0, file_write=0.0),
        )
    )
    if scattered:
        for zone in m.frames.zones.values():
            np.random.default_rng(zone.nid).shuffle(zone.stack)
    return m


def emulated(profile: str, pages: int, swap: int | None = None, scattered: bool = False, file: str = "") -> float:
    """Pages a second from node 0 to node 1 (swap-2.6.15: out). `file`: dirty pages of a filesystem of that type."""
    m = machine(profile, pages, pages + 4096 if swap is None else swap, scattered)
    task = spawn(m, "t", cpu=0)
    if file:
        filesystem = Filesystem("disk", m.profile.filesystem_types[file], 0.0, 0.0)
        m.filesystems["disk"] = filesystem
        vma = mmap(m, task, pages, file=create(m, filesystem, "/disk/f", pages), flags=VM.WRITE | VM.SHARED)
    else:
        vma = mmap(m, task, pages)
    populate(m, vma, np.arange(pages, dtype=np.int64), 0, dirty=True)
    assert task.mm is not None
    began = time.perf_counter()
    left = m.run(do_migrate_pages(m, task.mm, NodeSet([0]), NodeSet([1]), move_all=False))
    took = time.perf_counter() - began
    assert left == 0
    assert m.swaps_out or (m.frames.nid == 1).sum() - m.frames.zones[1].free == pages
    assert vma.nr_node[0] == 0
    return pages / took


def bare(pages: int, batch: int = 4096, scattered: bool = False) -> float:
    """The sketch. Pages a second."""
    total = 2 * pages + 8192
    flags = np.zeros(total, np.uint16)
    refcount, mapcount = np.zeros(total, np.int32), np.zeros(total, np.int32)
    mapping, index = np.zeros(total, np.int32), np.zeros(total, np.int64)
    contents = np.zeros(total, np.uint64)
    free = np.arange(total - 1, pages - 1, -1, dtype=np.int64)
    released = np.empty(total, np.int64)
    pte = np.arange(pages, dtype=np.int64) << 8 | 1
    if scattered:
        np.random.default_rng(0).shuffle(pte)
        np.random.default_rng(1).shuffle(free)
    top, back = len(free), 0
    began = time.perf_counter()
    for start in range(0, pages, batch):
        old = pte[start : start + batch] >> 8
        top -= len(old)
        new = free[top : top + len(old)]
        contents[new] = contents[old]
        flags[new] = flags[old]
        mapping[new] = mapping[old]
        index[new] = index[old]
        refcount[new] = 1
        mapcount[new] = 1
        pte[start : start + batch] = new << 8 | 1
        for attribute in (flags, refcount, mapcount, mapping, index, contents):
            attribute[old] = 0
        released[back : back + len(old)] = old
        back += len(old)
    return pages / (time.perf_counter() - began)


def variants(pages: int) -> dict[str, Callable[[], float]]:
    out: dict[str, Callable[[], float]] = {}
    for order in ("", ", scattered frames"):
        out["sketch" + order] = partial(bare, pages, scattered=bool(order))
        for profile in PROFILE_NAMES:
            out[profile + order] = partial(emulated, profile, pages, scattered=bool(order))
    out[f"direct-v8, {FEW_SLOTS} free slots"] = partial(emulated, "direct-v8", pages, swap=FEW_SLOTS)
    for profile in PROFILE_NAMES:
        out[f"{profile}, dirty ext3 pages"] = partial(emulated, profile, pages, file="ext3")
    out["swap-2.6.15, evicted to swap"] = partial(emulated, "swap-2.6.15", pages)
    return out


def beside(name: str) -> str:
    """What a variant is compared with: the sketch, or direct migration of anonymous pages."""
    profile, _, kind = name.partition(", ")
    if kind in ("", "scattered frames"):
        return "sketch" + (", " if kind else "") + kind
    return profile if profile in PROFILE_NAMES else "direct-v8"


def main() -> None:
    seconds: dict[str, list[float]] = {profile: [] for profile in PROFILE_NAMES}
    for pages in [int(word) for word in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        best: dict[str, float] = {}
        for _ in range(10 if pages < 1_000_000 else 5 if pages < 5_000_000 else 2):
            for name, run in variants(pages).items():
                best[name] = max(best.get(name, 0.0), run())
        for name, speed in best.items():
            ratio = "" if name.startswith("sketch") else f", {speed / best[beside(name)]:4.2f} of {beside(name)}"
            print(f"{pages:>9} pages, {name:32} {speed / 1e6:6.2f} M pages/s{ratio}", flush=True)
        for profile in PROFILE_NAMES:
            seconds[profile].append(1 / best[profile])
    for profile, costs in seconds.items():
        print(f"{profile}: the dearest page costs {max(costs) / min(costs):.2f} of the cheapest")


if __name__ == "__main__":
    main()
