"""The ioctl PAGEMAP_SCAN (include/uapi/linux/fs.h, Linux 6.7): the populated ranges of an address space."""

from __future__ import annotations

import ctypes
import fcntl
import os

MOST_PAGES = 16384
"""Pages after which a call ends, to bound its time: it holds mmap_lock throughout."""
_PAGE_IS_PRESENT, _PAGE_IS_SWAPPED = 1 << 3, 1 << 4


class _Arg(ctypes.Structure):
    """struct pm_scan_arg."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages", "category_inverted",
                     "category_mask", "category_anyof_mask", "return_mask")
    ]  # fmt: skip


_PAGEMAP_SCAN = 3 << 30 | ctypes.sizeof(_Arg) << 16 | ord("f") << 8 | 16
"""_IOWR('f', 16, struct pm_scan_arg)."""


def scan(path: str, start: int, end: int, count: int) -> tuple[int, bytes]:
    """See `Kernel.pagemap_scan`. Raises OSError: ENOTTY on an older kernel, EFAULT for an invalid range."""
    wanted = _PAGE_IS_PRESENT | _PAGE_IS_SWAPPED
    records = (ctypes.c_uint64 * (3 * count))()
    arg = _Arg(
        size=ctypes.sizeof(_Arg), start=start, end=end, vec=ctypes.addressof(records), vec_len=count,
        max_pages=MOST_PAGES, category_anyof_mask=wanted, return_mask=wanted,
    )  # fmt: skip
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = fcntl.ioctl(fd, _PAGEMAP_SCAN, arg)
    finally:
        os.close(fd)
    return arg.walk_end, bytes(records)[: found * 24]  # struct page_region: three u64
