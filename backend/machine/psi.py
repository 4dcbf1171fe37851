"""Memory pressure stall information: /proc/pressure/memory (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re

from backend.kernel import Kernel

PRESSING = 0.1
"""Pressure (share of time, 0 to 1) from which on migration would make the shortage worse."""
_SOME = re.compile(rb"^some avg10=(\d{1,3}(?:\.\d{1,4})?) ", re.MULTILINE)


def memory_pressure(kernel: Kernel) -> float | None:
    """Share of the last ten seconds, 0 to 1, in which some task waited for memory. None without PSI."""
    try:
        match = _SOME.search(kernel.read("/proc/pressure/memory"))
    except OSError:
        return None
    return min(1.0, float(match[1]) / 100) if match else None
