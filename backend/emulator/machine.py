"""The machine: frames, swap, tasks and time put together, and what happens to them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import simpy
from numpy.typing import NDArray

from backend.emulator.costs import Costs
from backend.emulator.frames.frames import MemMap
from backend.emulator.frames.page import State
from backend.emulator.frames.page_lock import Events, PageLocks
from backend.emulator.frames.pagevec import Pagevecs
from backend.emulator.migration.mechanism import Mechanism, MigrationEntries, SwapEntries
from backend.emulator.migration.numa_balancing import NumaBalancing
from backend.emulator.mm.huge_pages import whole_ranges
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import (
    PTE_PRESENT,
    PTE_SHIFT,
    PTE_SWAP,
    VM,
    Indices,
    Mm,
    ReverseMap,
    Vma,
)  # fmt: skip
from backend.emulator.mm.placing import locked_elsewhere, mark_mlocked
from backend.emulator.profile import Profile
from backend.emulator.storage.file_io import evict
from backend.emulator.storage.filesystem import AddressSpace, Filesystem
from backend.emulator.storage.reclaim import Reclaimer
from backend.emulator.storage.swap import SwapArea
from backend.emulator.storage.swap_io import drop_unused
from backend.emulator.tasks.cpuset import Cpuset, Cpusets, Version
from backend.emulator.tasks.permissions import Cap
from backend.emulator.tasks.scheduler import confine
from backend.emulator.tasks.task import Task, Thread
from backend.nodeset import CpuSet, NodeSet

if TYPE_CHECKING:
    from backend.emulator.study.trace import Tracer

MMAP_BASE = 0x7F00_0000_0000
HEAP_BASE = 0x5600_0000_0000
_GUARD = 16
_BATCH_GROWS_FROM, _BATCH_MAX = 512, 3 << 13
_PAGE_TAKES = 2e-6


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as described: `pages` base pages of memory, CPUs (none for a memory-only node)."""

    id: int
    pages: int
    cpus: CpuSet


@dataclass(frozen=True, slots=True)
class Patches:
    """Which patches of Direct Migration V8 are in; without one the machine is as it was before it.

    1 `swapcache_recheck`: after waiting for a page's lock a fault looks again whether the page still is what its swap entry
    names. 2 `direct_migrate`: pages go to other frames, else out to swap. 3 `remove_from_swap`: swap PTEs become present
    again afterwards. 4 `node_sets`: the caller says where to, node by node. 5 `buffer_migrate`: filesystems and the swap
    cache have methods that need no writeback."""

    swapcache_recheck: bool = True
    direct_migrate: bool = True
    remove_from_swap: bool = True
    node_sets: bool = True
    buffer_migrate: bool = True


class Machine:
    """An emulated NUMA machine. Not thread-safe: `EmulatedKernel` serialises.

    `huge`: base pages of a huge page, if not 2 MiB of them. `watch`: remember what was last written to every page (`audit.damaged_pages`). `batch`: frames per kernel step; 1 interleaves page by page. `seed`: makes a run repeatable to the last counter.
    """

    def __init__(
        self,
        profile: Profile,
        nodes: Sequence[NodeSpec],
        distances: Mapping[tuple[int, int], int],
        *,
        page_size: int = 4096,
        swap_pages: int = 0,
        costs: Costs | None = None,
        patches: Patches | None = None,
        seed: int = 1,
        batch: int = 512,
        watch: bool = False,
        huge: int = 0,
        cgroups: Version | None = None,
    ) -> None:
        self.profile = profile
        self.page_size = page_size
        self.nodes = {node.id: node for node in sorted(nodes, key=lambda node: node.id)}
        self.distances = dict(distances)
        self.costs = costs or Costs()
        self.patches = patches or Patches()
        self.batch = batch
        self.watch = watch
        self.random = random.Random(seed)
        self.env = simpy.Environment()
        self.frames = MemMap(
            [(node.id, node.pages) for node in self.nodes.values()], self.distances, page_size, huge
        )
        self.swap = SwapArea(swap_pages)
        self.rmap = ReverseMap()
        self.filesystems: dict[str, Filesystem] = {}
        self.shm = Filesystem("", profile.filesystem_types["tmpfs"], 0.0, 0.0)
        self.locks = PageLocks(self.env, self.frames, self._wake_latency)
        self.mechanism: Mechanism = MigrationEntries() if profile.migration_entries else SwapEntries()
        self.node_of_cpu = {cpu: node.id for node in self.nodes.values() for cpu in node.cpus}
        self.node_slots = max(self.nodes) + 1
        self.tasks: dict[int, Task] = {}
        self.counters: dict[str, int] = {}
        self.users: dict[int, str] = {0: "root"}
        self.name = "emulated"
        self.tracer: Tracer | None = None
        self.who: WeakKeyDictionary[simpy.Process, str] = WeakKeyDictionary()
        self.pagevecs = Pagevecs(self)
        self.reclaim = Reclaimer(self)
        self.cpusets = Cpusets(self, cgroups or profile.cgroups)
        self.balancing = NumaBalancing(self)
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

    def spawn(
        self, name: str | bytes, *, cpu: int, uid: int = 0, command: str | bytes = b"", threads: Sequence[int] = (),
        ppid: int = 1, policy: Mempolicy | None = None, kernel_thread: bool = False, pid: int | None = None,
        cpuset: Cpuset | None = None, suid: int | None = None, caps: frozenset[Cap] | None = None,
    ) -> Task:  # fmt: skip
        """A new task on `cpu`, with further threads on the CPUs of `threads`. No memory yet. `pid`: a free one to use
        (again) instead of the next. `cpuset`: the root by default."""
        raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
        line = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
        if pid is None:
            pid = next(self._pids)
        elif pid in self.tasks:
            raise ValueError(f"pid {pid} is in use")
        where = cpuset or self.cpusets.root
        tids = [pid, *(next(self._pids) for _ in threads)]
        task = Task(
            pid=pid,
            name=raw[:15],
            command=line,
            uid=uid,
            start_time=int(self.now * 100) + next(self._starts),
            mm=None if kernel_thread else Mm(self.page_size, self.node_slots, self.rmap),
            threads=[Thread(tid, raw[:15], on) for tid, on in zip(tids, (cpu, *threads), strict=True)],
            ppid=0 if pid <= 2 else ppid,
            cpus_allowed=where.effective_cpus,
            saved_uid=suid,
            own_caps=caps,
            cpuset=where,
        )
        if task.mm is not None:
            task.mm.cgroup = where.id
        confine(self, task, where.effective_cpus)
        if policy is not None:
            task.policy = policy
        self.tasks[pid] = task
        return task

    def mmap(
        self,
        task: Task,
        pages: int,
        *,
        name: str = "",
        kind: str = "anon",
        policy: Mempolicy | None = None,
        flags: VM = VM.WRITE,
        file: AddressSpace | None = None,
        offset: int = 0,
    ) -> Vma:
        """A mapping, untouched: anonymous, or of a `file` from page `offset` on. Raises ValueError for a kernel thread."""
        mm = task.mm
        if mm is None or pages <= 0:
            raise ValueError(f"{task.pid} cannot map {pages} pages")
        heap = kind == "heap"
        below = next((vma for vma in reversed(mm.vmas) if (vma.kind == "heap") == heap), None)
        start = below.end + _GUARD * self.page_size if below else HEAP_BASE if heap else MMAP_BASE
        if flags & (VM.HUGEPAGE | VM.HUGETLB):
            huge = self.frames.huge * self.page_size
            start = -(-start // huge) * huge
        vma = Vma(
            mm=mm, start=start, pages=pages, name=name or f"{kind}{len(mm.vmas)}", kind=kind,
            anon_vma=0 if flags & VM.SHARED else self.rmap.new(), file=file,
            pgoff=offset if file is not None else start // self.page_size, pte=np.zeros(pages, np.int64),
            nr_node=np.zeros(self.node_slots, np.int64), flags=flags, policy=policy,
            expected=np.zeros(pages, np.uint64) if self.watch else None,
        )  # fmt: skip
        mm.insert(vma)
        self.rmap.link(vma)
        return vma

    def zap(self, vma: Vma, index: Indices, cpu: int | None = None) -> None:
        """Empty PTEs of a range: present pages lose a mapping, swap entries a user (zap_page_range(), MADV_DONTNEED). Huge pages
        of the pool go whole. `cpu`: where the caller runs, whose pagevec is drained."""
        self.pagevecs.lru_add_drain(cpu)
        if vma.flags & VM.HUGETLB:
            index = whole_ranges(self, index)
        pte = vma.pte[index]
        present = index[(pte & PTE_PRESENT) != 0]
        pfns = vma.unmap(self.frames, present, 0)
        swapped = (pte & PTE_SWAP) != 0
        vma.pte[index[(pte & PTE_PRESENT) == 0]] = 0
        entries = (pte[swapped] >> PTE_SHIFT).astype(np.int32)
        vma.nr_swap -= len(entries)
        cached = self.swap.cache[entries]
        self.swap.release(entries)
        self.frames.put(pfns)
        touched = np.concatenate([pfns, cached[cached >= 0]])
        drop_unused(self, touched[self.frames.state[touched] == State.IN_USE])
        if vma.expected is not None:
            vma.expected[index] = 0

    def munmap(self, vma: Vma, cpu: int | None = None) -> None:
        """Remove a whole mapping. A file without a name goes with its last one. `cpu`: as for `zap`."""
        index = np.arange(vma.pages, dtype=np.int64)
        if vma.flags & VM.LOCKED and self.profile.mlocked_flag:
            vma.flags &= ~VM.LOCKED
            pfns = vma.pfns(index[(vma.pte & PTE_PRESENT) != 0])
            mark_mlocked(self, pfns[~locked_elsewhere(self, pfns)], lock=False)
        self.zap(vma, index, cpu)
        self.rmap.unlink(vma)
        vma.mm.vmas.remove(vma)
        vma.unmapped = True
        if vma.file is not None and vma.file.unlinked and not vma.file.mappings:
            self.start(evict(self, vma.file, cpu), "iput")

    def exit(self, task: Task, why: str = "exited") -> None:
        """The task ends; its memory goes when nobody else holds the address space."""
        if task.exited:
            return
        task.exited = why
        self.tasks.pop(task.pid, None)
        self.pagevecs.lru_add_drain(task.leader.cpu)
        if task.mm is not None:
            self.mmput(task.mm)

    def kill(self, task: Task, why: str) -> None:
        """The kernel ends the task (oom_kill_task())."""
        self.count("oom_kill", 1)
        self.exit(task, why)

    def mmput(self, mm: Mm) -> None:
        """Let go of an address space; the last one tears it down (exit_mmap())."""
        mm.users -= 1
        if not mm.users:
            for vma in list(mm.vmas):
                self.munmap(vma)

    def store(self, vma: Vma, index: Indices, value: int | None = None) -> None:
        """Write a value never written before to each of the (present, writable) pages, or the same `value` to all."""
        values = self.new_values(len(index)) if value is None else np.full(len(index), value, np.uint64)
        self.frames.contents[vma.pfns(index)] = values
        if vma.shared and vma.file is not None:
            if vma.file.expected is not None:
                vma.file.expected[vma.pgoff + index] = values
        elif vma.expected is not None:
            vma.expected[index] = values

    def new_values(self, count: int) -> NDArray[np.uint64]:
        """Values never written before."""
        self._next_value += count
        return np.arange(self._next_value - count, self._next_value, dtype=np.uint64)
