"""Reads what a plan needs and makes the plan: processes, where their memory lies, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backend.cpuset.confinement import confinements
from backend.errors import NotFound, NotPermitted, NotSupported, UsageError
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.one_mapping import find_mapping
from backend.placement.reader import PlacementReader
from backend.plan.conditions import read_conditions
from backend.plan.plan import Plan, Subject
from backend.plan.planner import check_sets, make_plan
from backend.plan.remap import rule_of
from backend.process.process import read_process, with_descendants


def plan(kernel: Kernel, request: MoveRequest) -> Plan:
    """What this request would do now. Raises UsageError, NotFound, NotPermitted, NotSupported."""
    topology = read_topology(kernel)
    sources = NodeSet.parse(request.sources, topology.ids)
    targets = NodeSet.parse(request.targets, topology.ids, same=sources)
    check_sets(sources, targets, topology.ids, topology.memory_ids)
    within = None
    if request.mapping is not None:
        if len(request.pids) != 1 or request.tree or request.cgroup is not None:
            raise UsageError("--vma needs exactly one process", "name one process by its pid")
        within = find_mapping(kernel, request.pids[0], request.mapping)
    at = kernel.clock()
    subjects = read_subjects(kernel, list(request.pids), tree=request.tree, cgroup=request.cgroup)
    made = make_plan(
        subjects,
        sources,
        targets,
        topology,
        rule=request.rule or rule_of(release(kernel)),
        method=request.method,
        page_size=kernel.page_size,
        move_all=request.move_all,
        conditions=read_conditions(kernel, topology, request.method),
        sharers=read_sharers(kernel, subjects, sources) if request.move_all else {},
        within=within,
        max_rate=request.max_rate,
        confinements=confinements(kernel, [one.process for one in subjects], targets) if request.confine else (),
    )
    return replace(made, at=at)


def read_sharers(kernel: Kernel, subjects: Sequence[Subject], sources: NodeSet) -> dict[int, list[tuple[int, str]]]:
    """Pid → the other processes that map its pages on `sources`: (pid, name)."""
    from backend.placement.sharers import find_sharers

    out: dict[int, list[tuple[int, str]]] = {}
    for one in subjects:
        shared = [vma for vma in one.placement.vmas if vma.shared_bytes and any(vma.pages.get(n) for n in sources)]
        if shared:
            out[one.process.pid] = find_sharers(kernel, one.process.pid, shared)
    return out


def read_subjects(kernel: Kernel, pids: list[int], *, tree: bool = False, cgroup: str | None = None) -> list[Subject]:
    """The processes with their placement. A process that is not in `pids` is left out if it has ended, is a kernel
    thread, or may not be read. If that leaves none of a cgroup, it is an error. Raises NotFound, NotPermitted,
    NotSupported, UsageError."""
    chosen = list(dict.fromkeys(pids))
    if tree:
        chosen = with_descendants(kernel, chosen)
    if cgroup is not None:
        chosen = list(dict.fromkeys([*chosen, *_in_cgroup(kernel, cgroup)]))
    placements = PlacementReader(kernel)
    subjects: list[Subject] = []
    refused: NotPermitted | None = None
    for pid in chosen:
        try:
            process = read_process(kernel, pid)
            if process.is_kernel_thread:
                if pid not in pids:
                    continue
                raise NotSupported(f"{pid} is a kernel thread: it has no memory of its own", "choose a process")
            subjects.append(Subject(process, placements.read(process)))
        except (NotFound, NotPermitted) as exc:
            if pid in pids:
                raise
            refused = exc if isinstance(exc, NotPermitted) else refused
    if cgroup is not None and not subjects:
        raise refused or NotFound(f"no process is in the cgroup {cgroup}", "numatui cgroups lists those there are")
    return subjects


def _in_cgroup(kernel: Kernel, name: str) -> list[int]:
    from backend.cgroup.cgroups import check_path, find_hierarchies, members, walk

    hierarchies = find_hierarchies(kernel)
    if not hierarchies:
        raise NotSupported("this machine has no cgroups mounted", "name the processes by their pids")
    out: list[int] = []
    for hierarchy in hierarchies:
        path = check_path(name, hierarchy)
        below = [
            one.path
            for one in walk(kernel, hierarchy)
            if one.path == path or one.path.startswith(path.rstrip("/") + "/")
        ]
        if below:
            for one in below:
                out += members(kernel, hierarchy, one)
            return sorted(set(out))
    raise NotFound(f"there is no cgroup {name}", "numatui cgroups lists those there are")
