"""How busy the machine that numatui runs on is, as psutil tells it: load average, CPU, time since boot."""

from __future__ import annotations

import time
from dataclasses import dataclass

from backend.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Load:
    """`average`: runnable and waiting tasks over the last minute. `cpu`: share of all CPUs' time that was spent since
    the reading before, 0 to 1. `uptime`: seconds since boot."""

    average: float
    cpu: float
    uptime: float


def read_load(kernel: Kernel) -> Load | None:
    """None for a kernel that is not this host's: psutil knows no other. Never raises OSError."""
    if not kernel.traits.is_host:
        return None
    import psutil

    try:
        return Load(psutil.getloadavg()[0], psutil.cpu_percent(None) / 100, max(0.0, time.time() - psutil.boot_time()))
    except (OSError, psutil.Error):
        return None
