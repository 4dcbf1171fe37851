"""A cgroup of the machine: one directory of the hierarchy, which is a cpuset too. What a change does is in `cpuset`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from backend.nodeset import CpuSet, NodeSet

Version = Literal["v1", "v2"]


@dataclass(eq=False, slots=True)
class Cpuset:
    """One cpuset, which is a cgroup too. `mems`, `cpus`: as configured (v2: empty is what the parent has);
    `effective_…`: what that comes to; `old_mems`: where its tasks' pages are thought to be. `id`: the owner of charged
    frames."""

    id: int
    name: str
    parent: Cpuset | None
    mems: NodeSet
    cpus: CpuSet
    effective_mems: NodeSet
    effective_cpus: CpuSet
    old_mems: NodeSet
    memory_migrate: bool = False
    mems_generation: int = 0
    children: dict[str, Cpuset] = field(default_factory=dict[str, "Cpuset"])

    @property
    def path(self) -> str:
        """As /proc/PID/cpuset has it: / for the root."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def family(self) -> Iterator[Cpuset]:
        """It and all below it, parents first."""
        yield self
        for child in self.children.values():
            yield from child.family()
