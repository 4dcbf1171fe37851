"""A cgroup, which is also a cpuset: one directory of the hierarchy. `tasks.cpuset` implements changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from backend.nodeset import CpuSet, NodeSet

Version = Literal["v1", "v2"]
Partition = Literal["member", "root", "isolated"]


@dataclass(eq=False, slots=True)
class Cpuset:
    """One cpuset. `mems`, `cpus`: as configured; in v2 empty means the parent's. `effective_…`: the nodes and CPUs in
    force. `partition`, `invalid`: what cpuset.cpus.partition is to be, and why it is not. `old_mems`: the nodes from
    which a change of mems migrates pages (cpuset.old_mems_allowed). `id`: marks the frames charged to this cgroup."""

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
    partition: Partition = "member"
    invalid: str = ""
    children: dict[str, Cpuset] = field(default_factory=dict[str, "Cpuset"])

    @property
    def path(self) -> str:
        """The path as in /proc/PID/cpuset; / for the root."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def family(self) -> Iterator[Cpuset]:
        """This cpuset and its descendants, parents first."""
        yield self
        for child in self.children.values():
            yield from child.family()
