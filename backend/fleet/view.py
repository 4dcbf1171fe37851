"""What the fleet screen shows of a host: its nodes, what waits for memory, its jobs; and, read less often, how much of
the processes' memory lies far from where they run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backend.journal.past_jobs import newest_jobs
from backend.kernel import Kernel
from backend.machine.kernel_info import balancing, release
from backend.machine.psi import memory_pressure
from backend.machine.topology import read_topology
from backend.placement.survey import ProcessRow, Surveyor

_NEWEST = 3
"""Jobs that are looked at; each costs four round trips."""
MOST_WORST = 5
"""Processes that are named, those with the most memory far away."""


@dataclass(frozen=True, slots=True)
class NodeFill:
    """Bytes. `free`: None if the kernel does not tell."""

    id: int
    total: int
    free: int | None


@dataclass(frozen=True, slots=True)
class HostView:
    """`pressure`: share of the last ten seconds in which some task waited for memory; None without PSI. `running`: jobs
    under way among the newest; `jobs`: all that are known; `last`: the newest one's state, "" without one."""

    release: str
    cpus: int
    nodes: tuple[NodeFill, ...]
    pressure: float | None
    balancing: bool
    jobs: int
    running: int
    last: str

    @property
    def total(self) -> int:
        return sum(one.total for one in self.nodes)

    @property
    def free(self) -> int:
        return sum(one.free or 0 for one in self.nodes)


@dataclass(frozen=True, slots=True)
class FarProcess:
    """`far`, `rss`: bytes."""

    pid: int
    command: str
    rss: int
    far: int


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Of all processes that may be looked at. `local`: share of their memory on the nodes where they run; None if
    nothing is known. `hidden`: processes that may not be looked at."""

    processes: int
    hidden: int
    rss: int
    far: int
    local: float | None
    worst: tuple[FarProcess, ...]


def view(kernel: Kernel) -> HostView:
    """Cheap: some thirty files in six round trips, and the newest journals. Raises as `read_topology`."""
    topology = read_topology(kernel)
    jobs, newest = newest_jobs(kernel.files, _NEWEST)
    return HostView(
        release(kernel),
        sum(len(node.cpus) for node in topology.nodes),
        tuple(NodeFill(node.id, node.total, node.free) for node in topology.nodes),
        memory_pressure(kernel),
        balancing(kernel),
        jobs,
        sum(1 for one in newest if one.state == "running"),
        newest[0].state if newest else "",
    )


def memory(kernel: Kernel) -> HostMemory:
    """Reads where the memory of all processes lies. Raises as `read_topology`, `Surveyor.read`."""
    return summed(Surveyor(kernel, read_topology(kernel)).read())


def summed(rows: Iterable[ProcessRow]) -> HostMemory:
    found = list(rows)
    known = [(row, row.far) for row in found]
    placed = [(row, far) for row, far in known if far is not None]
    total = sum(sum((row.by_node or {}).values()) for row, _ in placed)
    away = sum(far for _, far in placed)
    worst = sorted((one for one in placed if one[1]), key=lambda one: -one[1])[:MOST_WORST]
    return HostMemory(
        len(found),
        sum(1 for row in found if row.by_node is None),
        sum(row.resident for row in found),
        away,
        1 - away / total if total else None,
        tuple(FarProcess(row.process.pid, row.process.command or row.process.comm, row.resident, far)
              for row, far in worst),
    )  # fmt: skip
