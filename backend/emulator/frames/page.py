"""Page flags and frame states (include/linux/page-flags.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pfns = NDArray[np.int32]
"""A batch of page frame numbers."""


class PG:
    """Page flags (include/linux/page-flags.h). Plain ints, because they are combined with numpy arrays of uint32.

    SWAPBACKED: anonymous or shared memory; it is reclaimed to swap and has its own LRU lists. PRIVATE: has buffers.
    BUFFER_LOCK: I/O on the buffers is in flight. COMPOUND: part of a huge page, set on all its frames. HUGETLB: part of
    a page of the hugetlb pool. KSM: a merged page that many PTEs map."""

    LOCKED = 1 << 0
    ERROR = 1 << 1
    REFERENCED = 1 << 2
    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    ACTIVE = 1 << 6
    CHECKED = 1 << 7
    RESERVED = 1 << 8
    PRIVATE = 1 << 9
    WRITEBACK = 1 << 10
    SWAPCACHE = 1 << 11
    MAPPEDTODISK = 1 << 12
    MLOCKED = 1 << 13
    SWAPBACKED = 1 << 14
    BUFFER_LOCK = 1 << 15
    COMPOUND = 1 << 16
    HUGETLB = 1 << 17
    KSM = 1 << 18


class State:
    """State of a frame: exactly one of these. KEPT_OUT: offline, bad, or reserved for firmware; never allocated."""

    KEPT_OUT = 0
    FREE = 1
    IN_USE = 2
    POOL = 3
    """A free page of the hugetlb pool."""
