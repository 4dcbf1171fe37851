"""Which pages of a VMA are resident: /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst), in chunks."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backend.kernel import Kernel
from backend.placement import Vma

Addresses = NDArray[np.uint64]

_ENTRIES = 8192
_PRESENT = np.uint64(1 << 63)
_WITHOUT_PAGEMAP = 1 << 40
"""Bytes of address space that are walked page by page where pagemap cannot be read."""


def resident_addresses(kernel: Kernel, pid: int, vma: Vma) -> Iterator[Addresses]:
    """Addresses of resident pages in ascending order, a chunk at a time; one a huge page in hugetlb VMAs.

    No chunk ends within a transparent huge page. Where pagemap cannot be read, all addresses of the VMA. Raises
    OSError (ESRCH: the process has ended).
    """
    base = kernel.page_size
    first, last = vma.start // base, vma.end // base
    starts = [first, *range(first // _ENTRIES * _ENTRIES + _ENTRIES, last, _ENTRIES)]
    for entry in starts if first < last else ():
        count = min(_ENTRIES - entry % _ENTRIES, last - entry)
        addresses = (np.arange(entry, entry + count, dtype=np.uint64)) * np.uint64(base)
        try:
            raw = kernel.read(f"/proc/{pid}/pagemap", entry * 8, count * 8)
        except OSError as exc:
            if (
                exc.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSYS)
                or vma.end - vma.start > _WITHOUT_PAGEMAP
            ):
                raise
        else:
            present = np.frombuffer(raw[: len(raw) // 8 * 8], dtype=np.uint64)
            addresses = addresses[: len(present)][(present & _PRESENT) != 0]
        if vma.page_size > base and len(addresses):
            addresses = np.unique(addresses // np.uint64(vma.page_size)) * np.uint64(vma.page_size)
        if len(addresses):
            yield addresses
