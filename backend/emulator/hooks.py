"""What the machine calls back: parts that `boot` puts in and that act on the machine themselves. `machine` knows them
by these protocols only, so that it imports none of them."""

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


class Mechanism(Protocol):
    """How a page stays findable while it moves (`migration.mechanism`). All methods act on a batch of locked, isolated
    frames."""

    def prepare(self, m: Machine, old: Pfns) -> Mask:
        """Make the pages nameable. False for those that cannot be: a permanent failure."""
        ...

    def countable(self, m: Machine, old: Pfns) -> Mask:
        """Before unmapping: whether the references say that nobody else holds the page."""
        ...

    def unmap(self, m: Machine, old: Pfns) -> Mask:
        """Replace all PTEs of the pages by entries that a fault can follow (try_to_unmap()). True for those that a
        locked mapping keeps: a permanent failure."""
        ...

    def restore(self, m: Machine, old: Pfns) -> None:
        """The move was given up: what has to be undone so that the page is whole."""
        ...

    def remap(self, m: Machine, old: Pfns, new: Pfns) -> None:
        """The pages are at `new`: PTEs that name the entries become present."""
        ...


class Pagevecs(Protocol):
    """Per-CPU caches in front of the LRU lists (`frames.pagevec`)."""

    def lru_cache_add(self, pfns: Pfns, active: bool, cpu: int | None) -> None: ...
    def lru_add_drain(self, cpu: int | None) -> None: ...
    def lru_add_drain_all(self) -> Events: ...
    def flush(self) -> None: ...
    def cached(self) -> Pfns: ...


class Reclaim(Protocol):
    """Frames from pages that were not used lately (`storage.reclaim`)."""

    def after_alloc(self) -> None: ...
    def short_of(self, count: int, nodes: Iterable[int]) -> int: ...
    def make_room(self, task: Task, count: int, nodes: frozenset[int]) -> Events: ...
    def oom_kill(self, task: Task) -> None: ...
    def free_some(self, count: int, nodes: Iterable[int]) -> Events: ...


class CpusetHierarchy(Protocol):
    """What cpusets allow (`tasks.cpuset`, which changes them too: `Cpusets.of`)."""

    version: Version
    root: Cpuset

    def mems_allowed(self, task: Task) -> NodeSet: ...
    def nodemask(self, task: Task, policy: Mempolicy) -> frozenset[int] | None: ...
    def follow_nodes(self) -> Events: ...


class Balancing(Protocol):
    """Automatic NUMA balancing (`migration.numa_balancing`)."""

    @property
    def on(self) -> bool: ...
    @on.setter
    def on(self, on: bool) -> None: ...
    def tick(self, task: Task, thread: Thread) -> Events: ...
    def do_numa_page(self, task: Task, thread: Thread, vma: Vma, index: int, pte: int) -> Events: ...


class Tracer(Protocol):
    """Looks at the machine at every boundary between two kernel steps (`study.trace`, `study.follow`)."""

    def see(self, step: str) -> None: ...
