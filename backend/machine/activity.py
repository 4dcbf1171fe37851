"""Activity of nodes between two reads: CPU use, allocations, migrations. /proc/stat (proc(5)), numastat
(Documentation/admin-guide/numastat.rst), /proc/vmstat and the nodes' vmstat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.kernel import Kernel
from backend.machine.kernel_info import read_or_nothing
from backend.machine.topology import Topology, parse_counters

_CPU = re.compile(rb"^cpu(\d{1,6}) ([\d ]{1,400})$", re.MULTILINE)
_IDLE = (3, 4)
"""Fields of a CPU's line without work: idle and iowait."""
_GUEST = 8
"""Index of guest. guest and guest_nice are left out: user and nice include them (account_guest_time())."""
MIGRATIONS = (
    "pgmigrate_success", "pgmigrate_fail", "numa_pages_migrated", "thp_migration_success", "thp_migration_fail",
    "pgpromote_success", "pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive",
)  # fmt: skip
"""Counters of /proc/vmstat, in base pages; thp_* in huge pages."""

CpuTimes = Mapping[int, tuple[int, int]]
"""CPU → (busy, all) in clock ticks since boot."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Activity since the previous read. `busy`: node → share of its CPUs' time, 0 to 1. `rates`: node → counter of
    numastat or the node's vmstat → pages a second. `machine`: counter of `MIGRATIONS` → pages a second. Empty at the
    first read, and without the files."""

    busy: Mapping[int, float] = field(default_factory=dict[int, float])
    rates: Mapping[int, Mapping[str, float]] = field(default_factory=dict[int, Mapping[str, float]])
    machine: Mapping[str, float] = field(default_factory=dict[str, float])


class Meter:
    """Turns successive reads of counters into rates."""

    def __init__(self) -> None:
        self._last: tuple[int, CpuTimes, dict[int, dict[str, int]], dict[str, int]] | None = None

    def read(self, kernel: Kernel, topology: Topology, now: int) -> Activity:
        """The activity since the previous call. `now`: nanoseconds of the kernel's clock. Never raises OSError."""
        times = parse_cpu_times(read_or_nothing(kernel, "/proc/stat"))
        counters = {node.id: {**node.vmstat, **node.numastat} for node in topology.nodes}
        whole = parse_counters(read_or_nothing(kernel, "/proc/vmstat"))
        machine = {name: whole[name] for name in MIGRATIONS if name in whole}
        last, self._last = self._last, (now, times, counters, machine)
        if last is None or now <= last[0]:
            return Activity()
        seconds = (now - last[0]) / 1e9
        return Activity(
            _busy(last[1], times, topology.node_of_cpu),
            {node: _rates(last[2].get(node, {}), found, seconds) for node, found in counters.items()},
            _rates(last[3], machine, seconds),
        )


def parse_cpu_times(raw: bytes) -> dict[int, tuple[int, int]]:
    """/proc/stat: CPU → (busy, all) clock ticks. Other lines are left out. Never raises."""
    out: dict[int, tuple[int, int]] = {}
    for cpu, numbers in _CPU.findall(raw):
        ticks = [int(word[:18]) for word in numbers.split()[:_GUEST]]
        if len(ticks) > max(_IDLE):
            idle = sum(ticks[one] for one in _IDLE)
            out[int(cpu)] = (sum(ticks) - idle, sum(ticks))
    return out


def _busy(before: CpuTimes, now: CpuTimes, node_of_cpu: Mapping[int, int]) -> dict[int, float]:
    spent: dict[int, tuple[int, int]] = {}
    for cpu, (busy, whole) in now.items():
        node = node_of_cpu.get(cpu)
        if node is not None and cpu in before:
            so_far = spent.get(node, (0, 0))
            spent[node] = (
                so_far[0] + max(0, busy - before[cpu][0]),
                so_far[1] + max(0, whole - before[cpu][1]),
            )
    return {node: min(1.0, busy / whole) for node, (busy, whole) in sorted(spent.items()) if whole}


def _rates(before: Mapping[str, int], now: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Change a second. A counter that decreased was reset: its rate is 0."""
    return {name: max(0, count - before[name]) / seconds for name, count in now.items() if name in before}
