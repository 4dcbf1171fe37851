"""What a page frame can be: flags and states (include/linux/page-flags.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pfns = NDArray[np.int32]
"""Page frame numbers: a batch."""


class PG:
    """Page flags (include/linux/page-flags.h): plain ints, since they meet numpy arrays of 32 bits. SWAPBACKED:
    anonymous and shared memory, whose way out is swap (its own LRU lists). PRIVATE: has buffers; BUFFER_LOCK: I/O on
    them is in flight. COMPOUND: part of a huge page, which all its frames say; HUGETLB: of one of the pool. KSM: stands
    for many equal pages."""

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
    """What a frame is: exactly one of these."""

    KEPT_OUT = 0
    FREE = 1
    IN_USE = 2
    POOL = 3
    """A free page of the hugetlb pool."""
