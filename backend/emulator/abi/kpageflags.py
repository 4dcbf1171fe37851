"""/proc/kpageflags: 64 bits of flags per page frame (Documentation/admin-guide/mm/pagemap.rst)."""

from __future__ import annotations

import numpy as np

from backend.emulator.frames.page import PG, State
from backend.emulator.machine import Machine

PATH = "/proc/kpageflags"
ZERO_PFN = 1
"""Frame of the zero page: one of the firmware's frames, which belong to no node."""
_BITS = {
    PG.LOCKED: 0, PG.ERROR: 1, PG.REFERENCED: 2, PG.UPTODATE: 3, PG.DIRTY: 4, PG.LRU: 5, PG.ACTIVE: 6, PG.WRITEBACK: 8,
    PG.SWAPCACHE: 13, PG.SWAPBACKED: 14, PG.HUGETLB: 17, PG.MLOCKED: 18, PG.KSM: 21, PG.COMPOUND: 22,
}  # fmt: skip
"""Page flag → number of its KPF_ bit (include/uapi/linux/kernel-page-flags.h)."""
_BUDDY, _MMAP, _ANON, _NOPAGE, _ZERO_PAGE = (np.uint64(1 << bit) for bit in (10, 11, 12, 20, 24))


def read(m: Machine, offset: int, size: int) -> bytes:
    """Flags of the frames from `offset` / 8 on, 8 bytes each; at most `size` bytes, all if it is negative."""
    frames = m.frames
    first = offset // 8
    last = len(frames.flags) if size < 0 else min(len(frames.flags), first + size // 8)
    if first >= last:
        return b""
    own, state = frames.flags[first:last], frames.state[first:last]
    out = np.zeros(last - first, np.uint64)
    for flag, bit in _BITS.items():
        out[(own & flag) != 0] |= np.uint64(1 << bit)
    out[state == State.FREE] = _BUDDY
    out[state == State.KEPT_OUT] = _NOPAGE
    out[frames.mapcount[first:last] > 0] |= _MMAP
    out[(frames.mapping[first:last] > 0) & (state == State.IN_USE)] |= _ANON
    if first <= ZERO_PFN < last:
        out[ZERO_PFN - first] = _ZERO_PAGE
    return out.tobytes()
