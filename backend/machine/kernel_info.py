"""Facts about the running kernel: release, boot id, NUMA balancing."""

from __future__ import annotations

from backend.files.text import decode
from backend.kernel import Kernel


def read_or_nothing(kernel: Kernel, path: str) -> bytes:
    """A file's contents; empty if it cannot be read."""
    try:
        return kernel.read(path)
    except OSError:
        return b""


def read_fact(kernel: Kernel, path: str) -> str:
    """A small text file, stripped; empty if it cannot be read."""
    return decode(read_or_nothing(kernel, path)).strip()


def release(kernel: Kernel) -> str:
    """`6.1.0-56-amd64`: from /proc/sys/kernel/osrelease, else from /proc/version."""
    text = read_fact(kernel, "/proc/sys/kernel/osrelease")
    if text:
        return text
    words = read_fact(kernel, "/proc/version").split()
    return words[2] if len(words) > 2 else ""


def boot_id(kernel: Kernel) -> str:
    """A UUID that is new after every boot (random(4)); empty if it cannot be read."""
    return read_fact(kernel, "/proc/sys/kernel/random/boot_id")


BALANCING = "/proc/sys/kernel/numa_balancing"
_NORMAL, _TIERING = 1, 2
"""Bits of kernel.numa_balancing: NUMA_BALANCING_NORMAL, NUMA_BALANCING_MEMORY_TIERING (include/linux/sched/sysctl.h)"""


def balancing(kernel: Kernel) -> bool:
    """Whether automatic NUMA balancing is on (sysctl kernel.numa_balancing), of any kind."""
    return read_fact(kernel, BALANCING) not in ("", "0")


def tiering(kernel: Kernel) -> bool:
    """Whether NUMA balancing is on for slow memory only: it moves hot pages of lower tiers up."""
    mode = read_fact(kernel, BALANCING)
    return mode.isdecimal() and len(mode) < 9 and int(mode) & (_NORMAL | _TIERING) == _TIERING


_LARGEST_HUGE = 16 << 30
"""Bytes: no architecture's PMD maps more."""


def huge_page_size(kernel: Kernel) -> int:
    """Bytes of a transparent huge page, as /sys/kernel/mm/transparent_hugepage/hpage_pmd_size shows them. Where it does
    not, the size that follows from the base page."""
    text = read_fact(kernel, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    size = int(text) if text.isdecimal() and len(text) < 12 else 0
    if kernel.page_size <= size <= _LARGEST_HUGE and size & (size - 1) == 0:
        return size
    return usual_huge_page_size(kernel.page_size)


def usual_huge_page_size(page_size: int) -> int:
    """Bytes that one full page table maps, with entries of 8 bytes: 2 MiB for base pages of 4 KiB, 512 MiB for
    64 KiB."""
    return page_size * page_size // 8
