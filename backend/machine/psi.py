"""Pressure stall information: /proc/pressure/{cpu,memory,io} (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re

from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing

RESOURCES = ("memory", "cpu", "io")
PRESSING = 0.1
"""Pressure (share of time, 0 to 1) from which on migration would make the shortage worse."""
_SOME = re.compile(rb"^some avg10=(\d{1,3}(?:\.\d{1,4})?) ", re.MULTILINE)


def memory_pressure(kernel: Kernel) -> float | None:
    """Share of the last ten seconds, 0 to 1, in which some task waited for memory. None without PSI."""
    return _pressure(kernel, "memory")


def pressures(kernel: Kernel) -> dict[str, float]:
    """The same for each of `RESOURCES` that the kernel tells of."""
    found = ((name, _pressure(kernel, name)) for name in RESOURCES)
    return {name: share for name, share in found if share is not None}


def _pressure(kernel: Kernel, name: str) -> float | None:
    match = _SOME.search(read_or_nothing(kernel, f"/proc/pressure/{name}"))
    return min(1.0, float(match[1]) / 100) if match else None
