"""What the nodes did between two readings, again and again, for `--watch`."""

from __future__ import annotations

from collections.abc import Iterator

from backend.kernel import Kernel
from backend.machine.activity import Activity, Meter
from backend.machine.topology import Topology, read_topology
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.watching import ticks


def activities(kernel: Kernel, interval: int, count: int | None) -> Iterator[tuple[float, Topology, Activity]]:
    """Seconds since the first reading, the nodes, and what they did since the reading before. `interval`: nanoseconds.
    Rates are differences of two readings, so the first one gives none."""
    meter = Meter()
    with cancelled_by_signals() as cancel:
        for number, at in enumerate(ticks(kernel, interval, count + 1 if count else None, cancel)):
            topology = read_topology(kernel)
            activity = meter.read(kernel, topology, kernel.clock())
            if number:
                yield at, topology, activity
