"""Reads what a plan needs and makes the plan: processes, where their memory lies, conditions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from backend.cpuset.confinement import confinements
from backend.errors import NotFound, NotPermitted, NotSupported, NumatuiError, UsageError
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.kernel_info import release
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.one_mapping import find_mapping
from backend.placement.reader import KEPT_PAGES, PlacementReader
from backend.plan.conditions import read_conditions
from backend.plan.plan import Plan, Subject, Warning
from backend.plan.planner import check_sets, make_plan
from backend.plan.remap import remap, rule_of
from backend.selection.selection import Selection, select


def plan(kernel: Kernel, request: MoveRequest, cancel: threading.Event | None = None) -> Plan:
    """What this request would do now. `cancel`: ends the watching of a request by heat. Raises UsageError, NotFound,
    NotPermitted, NotSupported, Refused, Interrupted."""
    topology = read_topology(kernel)
    sources = NodeSet.parse(request.sources, topology.ids)
    targets = NodeSet.parse(request.targets, topology.ids, same=sources)
    check_sets(sources, targets, topology.ids, topology.memory_ids)
    within = None
    if request.mapping is not None:
        within = find_mapping(kernel, _only(request.selection), request.mapping)
    rule = request.rule or rule_of(release(kernel))
    told: list[Warning] = []
    if request.heat is not None or request.only is not None:
        from backend.job.heat_parts import parts_by_heat  # It needs numpy.

        if request.confine:
            raise UsageError("--cpuset moves all memory of a process, not a part", "leave out --cpuset")
        moved_from = NodeSet(one.source for one in remap(sources, targets, rule))
        subjects, told = parts_by_heat(kernel, topology, request, moved_from, within, cancel)
        at = 0  # What was counted is as old as the watching.
    else:
        at = kernel.clock()
        subjects = read_subjects(kernel, request.selection)
    made = make_plan(
        subjects,
        sources,
        targets,
        topology,
        rule=rule,
        method=request.method,
        page_size=kernel.page_size,
        move_all=request.move_all,
        conditions=read_conditions(kernel, topology, request.method),
        sharers=read_sharers(kernel, subjects, sources) if request.move_all else {},
        within=within,
        max_rate=request.max_rate,
        confinements=confinements(kernel, [one.process for one in subjects], targets) if request.confine else (),
        told=told,
    )
    return replace(made, at=at)


def _only(selection: Selection) -> int:
    """The one process that is named by its pid. Raises UsageError."""
    if len(selection.pids) != 1 or selection != Selection(pids=selection.pids):
        raise UsageError("--vma needs exactly one process", "name one process by its pid")
    return selection.pids[0]


def read_sharers(kernel: Kernel, subjects: Sequence[Subject], sources: NodeSet) -> dict[int, list[tuple[int, str]]]:
    """Pid → the other processes that map its pages on `sources`: (pid, name)."""
    from backend.placement.sharers import find_sharers

    out: dict[int, list[tuple[int, str]]] = {}
    for one in subjects:
        shared = [vma for vma in one.placement.vmas if vma.shared_bytes and any(vma.pages.get(n) for n in sources)]
        if shared:
            out[one.process.pid] = find_sharers(kernel, one.process.pid, shared)
    return out


def read_subjects(kernel: Kernel, selection: Selection) -> list[Subject]:
    """The selected processes with their placement. A process that is not named by its pid is left out if it has ended
    or may not be read. Raises as `select`; NotPermitted if none may be read; NotSupported for a kernel thread."""
    placements = PlacementReader(kernel, keep=KEPT_PAGES)
    subjects: list[Subject] = []
    refused: NumatuiError | None = None
    for process in select(kernel, selection):
        if process.is_kernel_thread:
            raise NotSupported(f"{process.pid} is a kernel thread: it has no memory of its own", "choose a process")
        try:
            subjects.append(Subject(process, placements.read(process)))
        except (NotFound, NotPermitted) as exc:
            if process.pid in selection.pids:
                raise
            refused = exc
    if refused is not None and not subjects:
        raise refused
    return subjects
