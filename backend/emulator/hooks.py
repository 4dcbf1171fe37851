"""Protocols of the parts that `boot` installs in a machine. `machine` uses only these protocols and imports none of
the parts, which avoids import cycles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from backend.emulator.frames.batches import Mask
from backend.emulator.frames.page import Pfns
from backend.emulator.frames.page_lock import Events
from backend.nodeset import NodeSet

if TYPE_CHECKING:
    from backend.emulator.machine import Machine
    from backend.emulator.mm.mempolicy import Mempolicy
    from backend.emulator.mm.mm import Vma
    from backend.emulator.tasks.cgroup import Cpuset, Version
    from backend.emulator.tasks.task import Task, Thread


NORMAL, TIERING = 1, 2
"""Bits of kernel.numa_balancing: NUMA_BALANCING_NORMAL and _MEMORY_TIERING (include/linux/sched/sysctl.h)."""


class Mechanism(Protocol):
    """How PTEs name a page while it moves (`migration.mechanism`). All methods take a batch of locked, isolated
    frames."""

    def at_once(self, m: Machine, old: Pfns) -> int:
        """How many of the pages, from the first on, can be prepared together with the result of one by one."""
        ...

    def prepare(self, m: Machine, old: Pfns) -> Mask:
        """Give each page a name, such as a swap entry. False marks a permanent failure (no swap slot free)."""
        ...

    def countable(self, m: Machine, old: Pfns) -> Mask:
        """Called before unmapping: whether the refcount shows that nobody else holds the page."""
        ...

    def unmap(self, m: Machine, old: Pfns) -> Mask:
        """Replace all PTEs of the pages by entries that a fault can follow (try_to_unmap()). True marks a page in a
        VM_LOCKED mapping: a permanent failure."""
        ...

    def restore(self, m: Machine, old: Pfns) -> None:
        """Undo `unmap` as far as needed after the move failed."""
        ...

    def remap(self, m: Machine, old: Pfns, new: Pfns) -> None:
        """The pages are now in `new`: make the PTEs present again (remove_migration_ptes(), remove_from_swap())."""
        ...


class Pagevecs(Protocol):
    """Per-CPU caches in front of the LRU lists (`frames.pagevec`)."""

    def lru_cache_add(self, pfns: Pfns, active: bool, cpu: int | None) -> None: ...
    def lru_add_drain(self, cpu: int | None) -> None: ...
    def lru_add_drain_all(self) -> Events: ...
    def flush(self) -> None: ...
    def cached(self) -> Pfns: ...


class Reclaim(Protocol):
    """Page reclaim: kswapd, direct reclaim and the OOM killer (`storage.reclaim`)."""

    def after_alloc(self) -> None: ...
    def wake(self, node: int) -> None: ...
    def short_of(self, count: int, nodes: Iterable[int]) -> int: ...
    def make_room(self, task: Task, count: int, nodes: frozenset[int]) -> Events: ...
    def oom_kill(self, task: Task) -> None: ...
    def free_some(self, count: int, nodes: Iterable[int]) -> Events: ...
    def proactive(self, count: int, nodes: Iterable[int], cgroups: frozenset[int] | None = None) -> Events: ...


class CpusetHierarchy(Protocol):
    """Read access to the cpusets (`tasks.cpuset`). `Cpusets.of` gives the interface that changes them."""

    version: Version
    root: Cpuset

    def mems_allowed(self, task: Task) -> NodeSet: ...
    def nodemask(self, task: Task, policy: Mempolicy) -> frozenset[int] | None: ...
    def follow_nodes(self) -> Events: ...


class Balancing(Protocol):
    """Automatic NUMA balancing (`migration.numa_balancing`)."""

    @property
    def mode(self) -> int:
        """kernel.numa_balancing."""
        ...

    @mode.setter
    def mode(self, mode: int) -> None: ...
    def tick(self, task: Task, thread: Thread) -> Events: ...
    def do_numa_page(self, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events: ...


class Tracer(Protocol):
    """Observes the machine between any two kernel steps (`inspect.trace`, `study.follow`)."""

    def see(self, step: str) -> None: ...
