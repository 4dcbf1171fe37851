"""The machine: frames, swap, tasks and time. `boot` makes one; the neighbouring packages hold the kernel paths."""

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
from backend.emulator.frames.memory_tiers import tiers_of, weights_of
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
"""Frames. A batch of at least the first size grows up to the second while no other event is due. A smaller batch was
chosen for fine interleaving and never grows. The maximum keeps the host's cost per page constant."""
_PAGE_TAKES = 2e-6
"""Approximate duration of a kernel step for one frame, in simulated seconds."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node. `pages`: its memory in base pages. `cpus`: empty for a memory-only node. `latency`, `bandwidth`: of its
    memory from the nearest CPU as the firmware (HMAT) tells them, ns and MB/s; 0 where it does not."""

    id: int
    pages: int
    cpus: CpuSet
    latency: int = 0
    bandwidth: int = 0


@dataclass(frozen=True, slots=True)
class Patches:
    """The applied patches of Direct Migration V8. False means that the kernel behaves as before that patch.

    1 `swapcache_recheck`: a fault that waited for the page lock checks that the swap entry still names the page.
    2 `direct_migrate`: pages move to other frames; without it they are swapped out. 3 `remove_from_swap`: swap PTEs
    become present again after the move. 4 `node_sets`: the caller chooses a target for each source node.
    5 `buffer_migrate`: filesystems and the swap cache have migratepage methods that need no writeback."""

    swapcache_recheck: bool = True
    direct_migrate: bool = True
    remove_from_swap: bool = True
    node_sets: bool = True
    buffer_migrate: bool = True


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Configuration of a machine. `distances`: SLIT values by (from, to); the default is 10 locally and 20 otherwise.
    `huge`: base pages per huge page; 0 means as many as one page
    table has entries. `batch`: frames per kernel step; 1 interleaves page by page.
    `seed`: equal seeds give identical runs. `watch`: record the last value written to every page, for
    `audit.damaged_pages`. `cgroups`: cgroup version; None takes the profile's."""

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

    `boot` sets `mechanism`, `pagevecs`, `reclaim`, `cpusets` and `balancing`."""

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
        self.seed = spec.seed
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
        self.tiers = tiers_of([*self.nodes.values()]) if spec.profile.tiers else {}
        self.demotion = False
        self.weights: dict[int, int] = weights_of([*self.nodes.values()])
        self.weights_auto = True
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
        """Whether migration swaps pages out instead of moving them."""
        return self.profile.swaps_out or not self.patches.direct_migrate

    @property
    def stride(self) -> int:
        """Frames per kernel step: `batch`, or more while no other event is due that could interleave."""
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
        """The nearest node that has memory: the node itself if it has some."""
        return next(one for one in self.frames.zones[node].zonelist if not self.frames.zones[one].isolated)

    def count(self, name: str, amount: int) -> None:
        """Add to a counter; names as in /proc/vmstat."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def step(self, name: str, seconds: float) -> Events:
        """A boundary between two kernel steps: simulated time passes and other due processes run."""
        if self.tracer is not None:
            self.tracer.see(name)
        yield self.env.timeout(seconds, name)

    def _wake_latency(self) -> float:
        return self.costs.wake * self.random.uniform(0.5, 2.0)

    def run(self, path: Events) -> Any:
        """Run one kernel path to its end, along with everything else that is due. Returns its result or raises its
        exception."""
        return self.env.run(until=self.env.process(path))

    def start(self, path: Events, who: str) -> simpy.Process:
        """Start a kernel path in the background. `who`: its name in traces."""
        process = self.env.process(path)
        self.who[process] = who
        return process

    def advance(self, seconds: float) -> None:
        """Run the machine for this many simulated seconds."""
        if seconds > 0:
            self.env.run(until=self.env.now + seconds)

    def number_from(self, pid: int) -> None:
        """Make `pid` the lower bound of all pids and thread ids given out from now on."""
        following = next(self._pids)
        self._pids = count(max(following, pid))

    def next_pid(self) -> int:
        """A pid or thread id that was never used before."""
        return next(self._pids)

    def next_start_time(self) -> int:
        """Start time in clock ticks (100 per second) since boot, field 22 of /proc/PID/stat. Unique for each task."""
        return int(self.now * 100) + next(self._starts)

    def new_values(self, amount: int) -> NDArray[np.uint64]:
        """`amount` page contents that were never written before."""
        self._next_value += amount
        return np.arange(self._next_value - amount, self._next_value, dtype=np.uint64)
