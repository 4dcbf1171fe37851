"""How much tasks wait for memory: /proc/pressure/memory (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re

from backend.kernel import Kernel

PRESSING = 0.1
"""The share of time in which tasks wait for memory from which on moving makes it worse."""
_SOME = re.compile(rb"^some avg10=(\d{1,3}(?:\.\d{1,4})?) ", re.MULTILINE)


def memory_pressure(kernel: Kernel) -> float | None:
    """The share of the last ten seconds, 0 to 1, in which some task waited for memory; None where it is not told."""
    try:
        match = _SOME.search(kernel.read("/proc/pressure/memory"))
    except OSError:
        return None
    return min(1.0, float(match[1]) / 100) if match else None
