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
from backend.cpuset.change import effective_after, predict_mems
from backend.errors import NotFound, NotPermitted, ParseError, UsageError
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.placement.reader import PlacementReader
from backend.plan.plan import Confined, Confinement, Subject
from backend.plan.remap import remap
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
        others = confined_below(kernel, tree, cpuset, cpuset.effective_mems | targets, targets, frozenset(pids))
        out.append(Confinement(path, cpuset.effective_mems, cpuset.mems, targets, targets, frozenset(pids), others))
    return out


def members_below(kernel: Kernel, tree: CpusetTree, path: str) -> set[int]:
    """The processes of a cpuset and of those below it."""
    pids: set[int] = set()
    for one in tree.below(path):
        with suppress(NotFound):
            pids.update(members(kernel, tree.hierarchy, one.path))
    return pids


def confined_below(
    kernel: Kernel, tree: CpusetTree, cpuset: CpusetInfo, wide: NodeSet, final: NodeSet, without: frozenset[int]
) -> tuple[Confined, ...]:
    """The other processes of a cpuset and of those below it, and what the kernel moves of each when the mems go from
    `wide` to `final`."""
    before, after = effective_after(tree, cpuset, wide), effective_after(tree, cpuset, final)
    reader = PlacementReader(kernel)
    out: list[Confined] = []
    for one in tree.below(cpuset.path):
        own = tree.deciding(one.path).path
        steps = remap(before[own], after[own])
        by_kernel = not NodeSet(step.target for step in steps).issubset(before[own])
        with suppress(NotFound):
            for pid in sorted(set(members(kernel, tree.hierarchy, one.path)) - without):
                subject = _subject(kernel, reader, pid)
                if subject is not None:
                    out.append(Confined(subject, steps, by_kernel))
    return tuple(out)


def _subject(kernel: Kernel, reader: PlacementReader, pid: int) -> Subject | None:
    """A process with its placement as far as it can be read; None for a kernel thread, or if it has ended."""
    try:
        process = read_process(kernel, pid)
    except (NotFound, NotPermitted, ParseError):
        return None
    if process.is_kernel_thread:
        return None
    try:
        return Subject(process, reader.read(process))
    except NotFound:
        return None
    except (NotPermitted, ParseError):
        return Subject(process, Placement(()), readable=False)
