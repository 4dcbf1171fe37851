"""Metrics of a scrape. Names follow Prometheus's conventions: base units, `_total` for counters.

The kernel is read at most once every `least` seconds, however often it is scraped. Only the largest commands and
cgroups are exported, so the number of series is bounded: nodes × (kinds + counters) + `commands` × (nodes + 2) +
`cgroups` × nodes. Processes count together by their command: a pid as a label would make new series without end."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.cgroup.cgroup_memory import survey
from backend.errors import NumatuiError
from backend.files.text import printable
from backend.journal.past_jobs import own_jobs
from backend.kernel import Kernel
from backend.machine.activity import MIGRATIONS, Meter
from backend.machine.kernel_info import read_or_nothing
from backend.machine.psi import memory_pressure
from backend.machine.topology import Topology, parse_counters, read_topology
from backend.placement.placement import sum_by_node
from backend.placement.survey import ProcessRow, Surveyor
from backend.process.hidepid import proc_hides

PREFIX = "numatui_"
_KINDS = {
    "MemTotal": "total", "MemFree": "free", "FilePages": "file", "AnonPages": "anon", "Shmem": "shmem", "Slab": "slab",
    "KernelStack": "kernel_stack", "PageTables": "page_tables",
}  # fmt: skip
_NUMASTAT = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


class NumatuiCollector(Collector):
    """`commands`, `cgroups`: export this many of the largest. `least`: seconds between readings, by `clock`."""

    def __init__(
        self,
        kernel: Kernel,
        commands: int = 10,
        cgroups: int = 50,
        least: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kernel, self.commands, self.cgroups, self.least = kernel, commands, cgroups, least
        self._clock = clock
        self._lock = threading.Lock()
        self._surveyor: Surveyor | None = None
        self._meter = Meter()
        self._kept: list[Metric] = []
        self._kept_at: float | None = None

    def collect(self) -> Iterable[Metric]:
        """Metrics of the last reading, or of a new one. What cannot be read is left out, and `numatui_up` is 0."""
        with self._lock:
            now = self._clock()
            if self._kept_at is None or now - self._kept_at >= self.least:
                self._kept = self._read()
                self._kept_at = now
            return list(self._kept)

    def describe(self) -> Iterable[Metric]:
        """Empty: otherwise the registry would call collect(), which reads the kernel."""
        return []

    def _read(self) -> list[Metric]:
        began = self._clock()
        out: list[Metric] = []
        up = 1.0
        try:
            topology = read_topology(self.kernel)
            out += self._nodes(topology)
            out += self._machine()
            out += self._processes(topology)
        except (NumatuiError, OSError):
            up = 0.0
        out += self._cgroups()
        out += _jobs()
        out += _own()
        out.append(_gauge("up", "Whether the last reading of the kernel was complete.", up))
        out.append(_gauge("reading_seconds", "How long the last reading took.", self._clock() - began))
        return out

    def _nodes(self, topology: Topology) -> list[Metric]:
        activity = self._meter.read(self.kernel, topology, self.kernel.clock())
        memory = GaugeMetricFamily(PREFIX + "node_memory_bytes", "Memory of a node by kind.", labels=["node", "kind"])
        counters = CounterMetricFamily(
            PREFIX + "node_allocations_pages",
            "numastat: pages allocated since boot.",
            labels=["node", "counter"],
        )
        busy = GaugeMetricFamily(
            PREFIX + "node_cpu_busy_ratio", "CPU load of a node since the last reading.", labels=["node"]
        )
        pools = GaugeMetricFamily(
            PREFIX + "node_hugetlb_bytes", "hugetlb pools of a node.", labels=["node", "size", "state"]
        )
        for node in topology.nodes:
            name = str(node.id)
            for key, kind in _KINDS.items():
                if key in node.memory:
                    memory.add_metric([name, kind], node.memory[key])
            for key in _NUMASTAT:
                if key in node.numastat:
                    counters.add_metric([name, key], node.numastat[key])
            if node.id in activity.busy:
                busy.add_metric([name], activity.busy[node.id])
            for pool in node.huge_pools:
                pools.add_metric([name, str(pool.size), "total"], pool.size * pool.total)
                pools.add_metric([name, str(pool.size), "free"], pool.size * pool.free)
        return [memory, counters, busy, pools]

    def _machine(self) -> list[Metric]:
        found = parse_counters(read_or_nothing(self.kernel, "/proc/vmstat"))
        moved = CounterMetricFamily(
            PREFIX + "vm_migration_pages",
            "/proc/vmstat: pages migrated since boot, by the counter's name.",
            labels=["counter"],
        )
        for name in MIGRATIONS:
            if name in found:
                moved.add_metric([name], found[name])
        out: list[Metric] = [moved]
        pressure = memory_pressure(self.kernel)
        if pressure is not None:
            out.append(
                _gauge(
                    "memory_pressure_ratio",
                    "Share of the last ten seconds in which a task waited for memory.",
                    pressure,
                )
            )
        return out

    def _processes(self, topology: Topology) -> list[Metric]:
        if self._surveyor is None:
            self._surveyor = Surveyor(self.kernel, topology)
        self._surveyor.topology = topology
        rows = [row for row in self._surveyor.read() if row.by_node]
        by_command: dict[str, list[ProcessRow]] = {}
        # Who mounts /proc with hidepid does not want others to see what runs: whoever scrapes is others.
        for row in rows if not proc_hides(self.kernel) else ():
            by_command.setdefault(printable(row.process.comm, 32), []).append(row)
        local = GaugeMetricFamily(
            PREFIX + "command_local_ratio", "Share of a command's memory where its processes run.",
            labels=["comm"],
        )  # fmt: skip
        memory = GaugeMetricFamily(
            PREFIX + "command_memory_bytes", "Memory of a command's processes by node; the largest commands.",
            labels=["comm", "node"],
        )  # fmt: skip
        largest = sorted(by_command.items(), key=lambda one: -sum(row.resident for row in one[1]))
        for command, theirs in largest[: self.commands]:
            if any(row.local is not None for row in theirs):
                local.add_metric([command], _local(theirs))
            for node, amount in sum_by_node(row.by_node or {} for row in theirs).items():
                memory.add_metric([command, str(node)], amount)
        return [
            local,
            memory,
            _gauge("processes", "Processes with memory that could be read.", len(rows)),
            _gauge("local_ratio", "Share of all processes' memory that lies where they run.", _local(rows)),
        ]

    def _cgroups(self) -> list[Metric]:
        try:
            found = [one for one in survey(self.kernel).cgroups if one.kinds]
        except (NumatuiError, OSError):
            return []
        found.sort(key=lambda one: -one.total)
        memory = GaugeMetricFamily(
            PREFIX + "cgroup_memory_bytes", "Memory of a cgroup and those below it by node; the largest cgroups.",
            labels=["cgroup", "node"],
        )  # fmt: skip
        outside = GaugeMetricFamily(
            PREFIX + "cgroup_outside_bytes",
            "Memory of a cgroup on nodes that its cpuset does not allow.",
            labels=["cgroup"],
        )
        for path, one in {_label(one.directory.path): one for one in found[: self.cgroups]}.items():
            for node, amount in one.by_node.items():
                memory.add_metric([path, str(node)], amount)
            outside.add_metric([path], sum(one.outside.values()))
        return [memory, outside]


def _label(path: str) -> str:
    """As it is shown; paths that look alike then keep apart: a series that is there twice spoils the whole scrape."""
    shown = printable(path, 200)
    return shown if shown == path else f"{shown} #{zlib.crc32(path.encode('utf-8', 'surrogateescape')):08x}"


def _local(rows: list[ProcessRow]) -> float:
    known = [(row.local, sum((row.by_node or {}).values())) for row in rows if row.local is not None]
    total = sum(amount for _, amount in known)
    return sum(share * amount for share, amount in known) / total if total else 1.0


def _jobs() -> list[Metric]:
    """Gauges, not counters: old journals are deleted, so the numbers can fall."""
    jobs = own_jobs()[0]
    states: dict[str, int] = {}
    for one in jobs:
        states[one.state] = states.get(one.state, 0) + 1
    count = GaugeMetricFamily(PREFIX + "jobs", "Migrations in the journals, by how they ended.", labels=["state"])
    for state, number in states.items():
        count.add_metric([state], number)
    stall = max((one.worst_call for one in jobs), default=0.0)
    return [
        count,
        _gauge(
            "jobs_moved_bytes",
            "What the migrations in the journals have moved.",
            sum(one.moved for one in jobs),
        ),
        _gauge("jobs_worst_call_seconds", "The longest call of the migrations in the journals.", stall),
    ]


def _own() -> list[Metric]:
    """What the exporter itself costs, so that nobody has to guess it."""
    import psutil

    me = psutil.Process()
    times = me.cpu_times()
    spent = CounterMetricFamily(PREFIX + "exporter_cpu_seconds", "CPU time of this exporter.")
    spent.add_metric([], times.user + times.system)
    return [
        spent,
        _gauge("exporter_resident_bytes", "Memory of this exporter.", me.memory_info().rss),
        _gauge("exporter_start_time_seconds", "When this exporter began, since the epoch.", me.create_time()),
    ]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)
