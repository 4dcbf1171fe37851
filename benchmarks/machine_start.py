"""The start of large emulated machines beside numpy filling the same bytes once: time as a ratio, and bytes a frame.
numpy gives out memory that is not there yet: a second figure includes touching every page of the machine's arrays. Each
run has a process of its own, so that no memory is used again.

`machine_start.py [GiB page_size]...`; by default 64 GiB of 4 KiB pages and 1 TiB of 2 MiB pages."""

from __future__ import annotations

import mmap
import multiprocessing
import sys
import time

import numpy as np

from backend.emulator.boot import boot
from backend.emulator.frames.frames import MemMap
from backend.emulator.machine import MachineSpec, NodeSpec
from backend.emulator.profile import PROFILES
from backend.nodeset import CpuSet

NODES = 4


def arrays(frames: MemMap) -> list[np.ndarray]:
    """All that is kept for the frames, the free stacks included."""
    own = [value for value in vars(frames).values() if isinstance(value, np.ndarray)]
    return [*own, *(zone.stack for zone in frames.zones.values())]


def start(pages: int, page_size: int) -> tuple[float, float, int]:
    """Seconds until a machine is up, until all pages of its arrays have been touched as well, and their bytes."""
    nodes = [NodeSpec(node, pages // NODES, CpuSet([node])) for node in range(NODES)]
    began = time.perf_counter()
    m = boot(MachineSpec(PROFILES["linux-6"], nodes, {}, page_size=page_size))
    up = time.perf_counter() - began
    for one in arrays(m.frames):
        one.view(np.uint8)[:: mmap.PAGESIZE] |= 0
    return up, time.perf_counter() - began, sum(one.nbytes for one in arrays(m.frames))


def fill(size: int) -> float:
    """Seconds to fill fresh memory once."""
    began = time.perf_counter()
    np.empty(size, np.uint8).fill(1)
    return time.perf_counter() - began


def main() -> None:
    words = [int(word) for word in sys.argv[1:]] or [64, 4096, 1024, 2 << 20]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as fresh:
        for gigabytes, page_size in zip(words[::2], words[1::2], strict=True):
            pages = (gigabytes << 30) // page_size
            times = 3 if pages > 1_000_000 else 10
            runs = [fresh.apply(start, (pages, page_size)) for _ in range(times)]
            size = runs[0][2]
            filled = min(fresh.apply(fill, (size,)) for _ in range(times))
            up, touched = min(run[0] for run in runs), min(run[1] for run in runs)
            print(
                f"{gigabytes} GiB of {page_size >> 10} KiB pages: {pages} frames, {size / pages:.0f} bytes each; up "
                f"in {up * 1e3:.1f} ms, "
                f"{up / filled:.2f} of one fill ({filled * 1e3:.1f} ms); {touched / filled:.2f} with everything "
                "touched",
                flush=True,
            )


if __name__ == "__main__":
    main()
