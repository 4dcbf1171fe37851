"""The machine: frames, swap, tasks and time. `boot` makes one; what happens to it is in the rooms beside."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import simpy
from numpy.typing import NDArray

from backend.emulator.costs import Costs
from backend.emulator.frames.frames import MemMap
from backend.emulator.frames.page_lock import Events, PageLocks
from backend.emulator.hooks import Balancing, CpusetHierarchy, Mechanism, Pagevecs, Reclaim, Tracer
from backend.emulator.mm.mm import ReverseMap
from backend.emulator.profile import Profile
from backend.emulator.storage.filesystem import Filesystem
from backend.emulator.storage.swap import SwapArea
from backend.emulator.tasks.cgroup import Version
from backend.emulator.tasks.task import Task
from backend.nodeset import CpuSet, NodeSet

_BATCH_GROWS_FROM, _BATCH_MAX = 512, 3 << 13
"""Frames: from this batch size on it grows while nothing else is due, up to the maximum."""
_PAGE_TAKES = 2e-6
"""Simulated seconds that a kernel step takes for one frame, about."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as described: `pages` base pages of memory, CPUs (none for a memory-only node)."""

    id: int
    pages: int
    cpus: CpuSet


@dataclass(frozen=True, slots=True)
class Patches:
    """Which patches of Direct Migration V8 are in; without one the machine is as it was before it.

    1 `swapcache_recheck`: after waiting for a page's lock a fault looks again whether the page still is what its swap
    entry names. 2 `direct_migrate`: pages go to other frames, else out to swap. 3 `remove_from_swap`: swap PTEs become
    present again afterwards. 4 `node_sets`: the caller says where to, node by node. 5 `buffer_migrate`: filesystems and
    the swap cache have methods that need no writeback."""

    swapcache_recheck: bool = True
    direct_migrate: bool = True
    remove_from_swap: bool = True
    node_sets: bool = True
    buffer_migrate: bool = True


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What a machine is made of. `distances`: as in the SLIT, by (from, to); 10 and 20 where none is given. `huge`:
    base pages of a huge page, 0 for those of 2 MiB. `batch`: frames a kernel step; 1 interleaves page by page. `seed`:
    makes a run repeatable to the last counter. `watch`: remember what was last written to every page
    (`audit.damaged_pages`). `cgroups`: the hierarchy of cpusets, None for the profile's."""

    profile: Profile
    nodes: Sequence[NodeSpec]
    distances: Mapping[tuple[int, int], int]
    page_size: int = 4096
    swap_pages: int = 0
    costs: Costs = field(default_factory=Costs)
    patches: Patches = field(default_factory=Patches)
    seed: int = 1
    batch: int = 512
    watch: bool = False
    huge: int = 0
    cgroups: Version | None = None
    name: str = "emulated"
    users: Mapping[int, str] = field(default_factory=lambda: {0: "root"})


class Machine:
    """State, step and time of an emulated NUMA machine. Not thread-safe: `EmulatedKernel` serialises.

    `mechanism` to `balancing` are what `boot` puts in."""

    mechanism: Mechanism
    pagevecs: Pagevecs
    reclaim: Reclaim
    cpusets: CpusetHierarchy
    balancing: Balancing

    def __init__(self, spec: MachineSpec) -> None:
        self.profile = spec.profile
        self.page_size = spec.page_size
        self.nodes = {node.id: node for node in sorted(spec.nodes, key=lambda node: node.id)}
        self.distances = dict(spec.distances)
        self.costs = spec.costs
        self.patches = spec.patches
        self.batch = spec.batch
        self.watch = spec.watch
        self.name = spec.name
        self.users = dict(spec.users)
        self.random = random.Random(spec.seed)
        self.env = simpy.Environment()
        sizes = [(node.id, node.pages) for node in self.nodes.values()]
        self.frames = MemMap(sizes, self.distances, spec.page_size, spec.huge)
        self.swap = SwapArea(spec.swap_pages)
        self.rmap = ReverseMap()
        self.filesystems: dict[str, Filesystem] = {}
        self.shm = Filesystem("", spec.profile.filesystem_types["tmpfs"], 0.0, 0.0)
        self.locks = PageLocks(self.env, self.frames, self._wake_latency)
        self.node_of_cpu = {cpu: node.id for node in self.nodes.values() for cpu in node.cpus}
        self.node_slots = max(self.nodes) + 1
        self.tasks: dict[int, Task] = {}
        self.counters: dict[str, int] = {}
        self.tracer: Tracer | None = None
        self.who: WeakKeyDictionary[simpy.Process, str] = WeakKeyDictionary()
        self._pids = count(1)
        self._starts = count(1)
        self._next_value = 1

    @property
    def node_ids(self) -> NodeSet:
        return NodeSet(self.nodes)

    @property
    def memory_nodes(self) -> NodeSet:
        return NodeSet(nid for nid, zone in self.frames.zones.items() if zone.pages and not zone.isolated)

    @property
    def first_node(self) -> int:
        return min(self.nodes)

    @property
    def swaps_out(self) -> bool:
        """Whether migration means eviction here."""
        return self.profile.swaps_out or not self.patches.direct_migrate

    @property
    def stride(self) -> int:
        """Frames per kernel step now: `batch`; more, as long as nothing else is due that could come in between."""
        if self.batch < _BATCH_GROWS_FROM:
            return self.batch
        return int(min(max(self.batch, (self.env.peek() - self.env.now) / _PAGE_TAKES), _BATCH_MAX))

    @property
    def now(self) -> float:
        """Simulated seconds since boot."""
        return float(self.env.now)

    def distance(self, a: int, b: int) -> int:
        return self.distances.get((a, b), 10 if a == b else 20)

    def nearest_memory(self, node: int) -> int:
        """The node itself, or for one without memory the nearest that has some."""
        return next(one for one in self.frames.zones[node].zonelist if not self.frames.zones[one].isolated)

    def count(self, name: str, amount: int) -> None:
        """Add to a counter as /proc/vmstat has them."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def step(self, name: str, seconds: float) -> Events:
        """A boundary between two kernel steps: time passes, and whoever is due runs."""
        if self.tracer is not None:
            self.tracer.see(name)
        yield self.env.timeout(seconds, name)

    def _wake_latency(self) -> float:
        return self.costs.wake * self.random.uniform(0.5, 2.0)

    def run(self, path: Events) -> Any:
        """Run one kernel path to its end, with everything else that is due meanwhile; its result, or what it raised."""
        return self.env.run(until=self.env.process(path))

    def start(self, path: Events, who: str) -> simpy.Process:
        """Let a kernel path run along with everything else. `who`: what a trace calls it."""
        process = self.env.process(path)
        self.who[process] = who
        return process

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.env.run(until=self.env.now + seconds)

    def number_from(self, pid: int) -> None:
        """The next pids and thread ids are not below this one."""
        following = next(self._pids)
        self._pids = count(max(following, pid))

    def next_pid(self) -> int:
        """A pid, or thread id, that nobody had yet."""
        return next(self._pids)

    def next_start_time(self) -> int:
        """In clock ticks since boot, as field 22 of /proc/PID/stat: different for every task."""
        return int(self.now * 100) + next(self._starts)

    def new_values(self, amount: int) -> NDArray[np.uint64]:
        """Page contents that were never written before."""
        self._next_value += amount
        return np.arange(self._next_value - amount, self._next_value, dtype=np.uint64)
