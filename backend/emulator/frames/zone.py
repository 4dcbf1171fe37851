"""The zone of a node: free stack, watermarks, counters (include/linux/mmzone.h)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.emulator.frames.page import Pfns


class Lru:
    """The LRU lists of a zone (enum lru_list)."""

    INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE = range(4)


@dataclass(slots=True)
class Zone:
    """The zone of a node; all counts are in pages.

    `stack[:free]`: its free frames. `numastat`: as in sysfs. `isolated`: all its blocks are offline; nothing is
    allocated from it and freed frames are kept out. `kept_out`: number of frames kept out. `lru`: pages on each list,
    by `Lru`. `nr_file`: pages in the page cache, including shared memory (`nr_shmem`). `nr_swapcached`: pages in the
    swap cache. `nr_hugepages`: huge pages of the hugetlb pool. `hugetlb_free`: first frames of its free huge pages."""

    nid: int
    start: int
    pages: int
    stack: Pfns
    free: int
    wmark_min: int = 0
    wmark_low: int = 0
    wmark_high: int = 0
    zonelist: tuple[int, ...] = ()
    isolated: bool = False
    kept_out: int = 0
    lru: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    nr_file: int = 0
    nr_shmem: int = 0
    nr_swapcached: int = 0
    nr_hugepages: int = 0
    hugetlb_free: list[int] = field(default_factory=list[int])
    numastat: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"), 0
        )
    )

    @property
    def nr_anon(self) -> int:
        """Anonymous pages: those on the lists of swap-backed pages that are not shared memory."""
        return int(self.lru[:2].sum()) - self.nr_shmem
