"""Confine processes to the target nodes of a migration through their cpuset.

A change of mems to the targets alone would make the kernel move all pages at once. So mems are first widened to the old
and the new nodes together: that moves nothing, and allows move_pages(2) to use the targets. Then the pages move. Then
mems are narrowed to the targets, and the kernel moves what is still elsewhere (cpuset_migrate_mm() in
kernel/cgroup/cpuset.c)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from backend.cgroup.cgroups import cgroup_of, members
from backend.cgroup.cpuset_tree import CpusetInfo, CpusetTree, read_cpusets
from backend.cpuset.change import predict_mems
from backend.errors import NotFound, NotPermitted, ParseError, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.placement.reader import PlacementReader
from backend.plan.plan import Confinement, Subject
from backend.process.process import Process, read_process


def confinements(kernel: Kernel, processes: Sequence[Process], targets: NodeSet) -> list[Confinement]:
    """The cpusets that decide where these processes may have memory, and everybody who is in them. Raises UsageError if
    a process is in the root cpuset or the mems cannot be changed; NotFound, NotSupported, NotPermitted."""
    tree = read_cpusets(kernel)
    found: dict[str, tuple[CpusetInfo, set[int]]] = {}
    for process in processes:
        cpuset = tree.deciding(cgroup_of(kernel, tree.hierarchy, process.pid, "cpuset"))
        if cpuset.path == "/":
            raise UsageError(
                f"process {process.pid} is in the root cpuset, whose nodes cannot be changed",
                "make a cpuset for it and attach it: numatui cpuset attach",
            )
        found.setdefault(cpuset.path, (cpuset, set()))[1].add(process.pid)
    out: list[Confinement] = []
    for path, (cpuset, pids) in found.items():
        predict_mems(kernel, path, cpuset.effective_mems | targets)
        others = subjects_below(kernel, tree, path, frozenset(pids))
        out.append(Confinement(path, cpuset.effective_mems, cpuset.mems, targets, targets, frozenset(pids), others))
    return out


def members_below(kernel: Kernel, tree: CpusetTree, path: str) -> set[int]:
    """The processes of a cpuset and of those below it."""
    pids: set[int] = set()
    for one in tree.below(path):
        with suppress(NotFound):
            pids.update(members(kernel, tree.hierarchy, one.path))
    return pids


def subjects_below(kernel: Kernel, tree: CpusetTree, path: str, without: frozenset[int]) -> tuple[Subject, ...]:
    """The processes of a cpuset and of those below it, with their placement as far as it can be read."""
    reader = PlacementReader(kernel)
    out: list[Subject] = []
    for pid in sorted(members_below(kernel, tree, path) - without):
        try:
            process = read_process(kernel, pid)
        except (NotFound, NotPermitted, ParseError):
            continue
        if process.is_kernel_thread:
            continue
        try:
            out.append(Subject(process, reader.read(process)))
        except NotFound:
            continue
        except (NotPermitted, ParseError):
            out.append(Subject(process, Placement(()), readable=False))
    return tuple(out)
