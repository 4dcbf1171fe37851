"""Makes a plan from what was read. Pure: it reads no kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from backend.errors import NotFound, NotSupported, UsageError
from backend.machine.kernel_info import usual_huge_page_size
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import Placement, sum_by_node
from backend.plan.conditions import Conditions
from backend.plan.plan import (
    ASSUMED_STALL,
    Called,
    Confined,
    Confinement,
    Fallback,
    Method,
    Plan,
    PlannedMove,
    ProcessPlan,
    Room,
    Subject,
    Warning,
)
from backend.plan.plan_warnings import room_warnings, warnings_of
from backend.plan.reasons import Reason, sum_by_reason
from backend.plan.remap import Move, Rule, expected_after, remap


def check_sets(sources: NodeSet, targets: NodeSet, nodes: NodeSet, memory: NodeSet) -> None:
    """Raises UsageError for empty sets and for targets without memory, NotFound for unknown nodes."""
    for name, chosen in (("sources", sources), ("targets", targets)):
        if not chosen:
            raise UsageError(f"the {name} are an empty set of nodes", f"the nodes here are {nodes}")
        if not chosen.issubset(nodes):
            raise NotFound(f"there is no node {chosen - nodes} (in the {name})", f"the nodes here are {nodes}")
    without = targets - memory
    if without:
        raise UsageError(
            f"node {without} has no memory: nothing can be moved there", f"the nodes with memory are {memory}"
        )


def make_plan(
    subjects: Sequence[Subject],
    sources: NodeSet,
    targets: NodeSet,
    topology: Topology,
    *,
    rule: Rule = "linux-6",
    method: Method = "auto",
    page_size: int = 4096,
    move_all: bool = False,
    conditions: Conditions | None = None,
    sharers: Mapping[int, Sequence[tuple[int, str]]] | None = None,
    within: tuple[int, int] | None = None,
    max_rate: int = 0,
    confinements: Sequence[Confinement] = (),
    told: Sequence[Warning] = (),
) -> Plan:
    """`sharers`: pid → the other processes that map its memory. `within`, `max_rate`: as in `Plan`. `confinements`: the
    cpusets that are narrowed to the targets afterwards. `told`: warnings beside those of the machine. The moves follow
    `remap`, the same rule as the kernel's. Raises what `check_sets` raises; UsageError, NotSupported for a method that
    cannot do it."""
    check_sets(sources, targets, topology.ids, topology.memory_ids)
    conditions = conditions or Conditions()
    subjects = [replace(one, placement=one.placement.within(within)) for one in subjects]
    moves = remap(sources, targets, rule)
    whole = within is None and all(one.only is None for one in subjects)
    calls = _call_of(method, conditions, whole)
    plans: list[ProcessPlan] = []
    for subject in subjects:
        steps = [*moves, *_rest_of(moves, confinements, subject.process.pid)]
        plans.append(_plan_process(subject, steps, topology, page_size))
    everybody = [*subjects]
    for one in confinements:
        for other in one.others:
            plans.append(_plan_confined(other, topology, page_size))
            everybody.append(other.subject)
    plan = Plan(
        sources,
        targets,
        rule,
        method,
        moves,
        tuple(plans),
        _room(plans, topology, page_size),
        conditions.rates,
        conditions.measured,
        conditions.stall or ASSUMED_STALL,
        within=within,
        calls=calls,
        fallback=_fallback(method, calls, conditions, whole, move_all, plans, confinements),
        holds_lock=conditions.holds_lock,
        move_all=move_all,
        max_rate=max_rate,
        confinements=tuple(confinements),
    )
    plan = replace(plan, stays=_stays(plan, conditions, topology))
    return replace(plan, warnings=(*told, *warnings_of(plan, everybody, topology, conditions, sharers or {})))


def plan_of_parts(
    parts: Sequence[ProcessPlan],
    moves: tuple[Move, ...],
    topology: Topology,
    conditions: Conditions,
    page_size: int,
    max_rate: int,
    confinements: Sequence[Confinement],
    undoes: str,
    told: Sequence[Warning],
) -> Plan:
    """The plan of an undo: `parts` have the pages of the journal. `told`: warnings beside those of the machine."""
    others = [_plan_confined(other, topology, page_size) for one in confinements for other in one.others]
    everybody = (*parts, *others)
    plan = Plan(
        NodeSet(move.source for move in moves),
        NodeSet(move.target for move in moves),
        "linux-6",
        "move_pages",
        moves,
        everybody,
        _room(everybody, topology, page_size),
        conditions.rates,
        conditions.measured,
        conditions.stall or ASSUMED_STALL,
        holds_lock=conditions.holds_lock,
        max_rate=max_rate,
        confinements=tuple(confinements),
        undoes=undoes,
    )
    plan = replace(plan, stays=_stays(plan, conditions, topology))
    return replace(plan, warnings=(*told, *warnings_of(plan, (), topology, conditions, {})))


def merged(plans: Sequence[Plan], topology: Topology, page_size: int) -> Plan:
    """Plans of different processes as one, to be done in one job. They were made in the same way: one method, one
    limit. What has room alone may not have it together."""
    first = plans[0]
    everybody = tuple(part for one in plans for part in one.processes)
    whole = replace(
        first,
        sources=NodeSet(node for one in plans for node in one.sources),
        targets=NodeSet(node for one in plans for node in one.targets),
        moves=tuple(dict.fromkeys(move for one in plans for move in one.moves)),
        processes=everybody,
        room=_room(everybody, topology, page_size),
        fallback=next((one.fallback for one in plans if one.fallback), ""),
    )
    told = dict.fromkeys(
        [
            *room_warnings(whole, topology),
            *(warning for one in plans for warning in one.warnings if warning.code not in ("room", "huge-pool")),
        ]
    )
    stays = sum_by_reason(one.stays for one in plans) | {"no-room": _no_room(whole, topology)}
    return replace(whole, warnings=tuple(told), stays={reason: amount for reason, amount in stays.items() if amount})


def having_room(plans: Iterable[Plan], topology: Topology, page_size: int) -> tuple[list[Plan], list[Plan]]:
    """(the plans that have room together, those that have none beside them), in the order given: the first to come has
    the room."""
    taken: list[Plan] = []
    left: list[Plan] = []
    parts: list[ProcessPlan] = []
    for one in plans:
        some = [*parts, *one.processes]
        if all(room.enough for room in _room(some, topology, page_size)):
            parts = some
            taken.append(one)
        else:
            left.append(one)
    return taken, left


def _rest_of(moves: Sequence[Move], confinements: Sequence[Confinement], pid: int) -> list[Move]:
    """What narrowing moves of a process from nodes that were not asked for."""
    sources = {move.source for move in moves}
    narrowed = [one for one in confinements if pid in one.pids]
    return [step for one in narrowed for step in confining_moves(one) if step.source not in sources]


def confining_moves(one: Confinement) -> tuple[Move, ...]:
    """What the kernel moves of the processes of a cpuset when its mems go from the wide set to the targets."""
    return remap(one.wide, one.targets)


def _call_of(method: Method, conditions: Conditions, whole: bool) -> Called:
    """`whole`: it is about whole processes. `auto` is move_pages, unless migrate_pages alone is there. A recording has
    neither: it plans as its machine would."""
    if method == "auto":
        only = "migrate_pages" in conditions.can and "move_pages" not in conditions.can and whole
        calls: Called = "migrate_pages" if only else "move_pages"
    else:
        calls = method
    if not whole and calls != "move_pages":
        raise NotSupported(
            "migrate_pages moves whole processes: a part of one can be moved by move_pages only",
            "leave out --method, or what chooses a part: --vma, --hot, --cold, --hotter-than",
        )
    return calls


def _fallback(
    method: Method,
    calls: Called,
    conditions: Conditions,
    whole: bool,
    move_all: bool,
    plans: Sequence[ProcessPlan],
    confinements: Sequence[Confinement],
) -> Fallback:
    """migrate_pages moves whole processes and, for a caller with CAP_SYS_NICE, what others map too: such a caller has
    to have said so."""
    if method != "auto" or calls != "move_pages" or not whole or "migrate_pages" not in conditions.can:
        return ""
    if conditions.privileged and not move_all:
        return ""
    if conditions.hides_from(step.source for one in plans for step in one.steps):
        return "balancing"
    outside = any(
        not NodeSet(step.target for step in one.steps).issubset(one.process.mems_allowed)
        for one in plans
        if one.process.mems_allowed is not None
    )
    return "cpuset" if outside and not confinements else ""


def _stays(plan: Plan, conditions: Conditions, topology: Topology) -> dict[Reason, int]:
    """What the plan announces as staying. With mappings that others share it is an upper bound, as numa_maps tells of
    whole mappings only."""
    out: dict[Reason, int] = {}
    moves_shared = plan.move_all or (plan.calls == "migrate_pages" and conditions.privileged) or plan.confinements
    if shared := sum(one.shared for one in plan.processes):
        out["shared"] = 0 if moves_shared else shared
    if conditions.hides_from(plan.sources) and plan.calls == "move_pages" and plan.fallback != "balancing":
        out["hidden"] = plan.bytes
    out["no-room"] = _no_room(plan, topology)
    return {reason: amount for reason, amount in out.items() if amount}


def _no_room(plan: Plan, topology: Topology) -> int:
    """Bytes for which there is no room on their targets, or in the pools there."""
    short = sum(room.missing for room in plan.room if room.incoming)
    for room in plan.room:
        pools = {pool.size: pool.free for pool in topology.node(room.node).huge_pools}
        short += sum(size * max(0, count - pools.get(size, 0)) for size, count in room.huge_pages.items())
    return min(plan.bytes, short)


def _plan_process(subject: Subject, moves: Sequence[Move], topology: Topology, page_size: int) -> ProcessPlan:
    before = subject.placement.bytes_by_node
    now, huge = before, huge_bytes(subject.placement, page_size)
    planned: list[PlannedMove] = []
    for move in moves:
        if amount := now.get(move.source, 0):
            pages = {size: by_node[move.source] // size for size, by_node in huge.items() if move.source in by_node}
            planned.append(PlannedMove(move.source, move.target, amount // page_size, amount, pages))
        now = expected_after(now, [move])
        huge = {size: expected_after(by_node, [move]) for size, by_node in huge.items()}
    sources = NodeSet(move.source for move in moves)
    shared = sum(
        min(vma.shared_bytes, sum(vma.pages.get(node, 0) for node in sources) * vma.page_size)
        for vma in subject.placement.vmas
    )
    runs_on = topology.node_of_cpu.get(subject.process.cpu)
    return ProcessPlan(
        subject.process,
        runs_on,
        tuple(planned),
        before,
        now,
        tuple(moves),
        shared,
        readable=subject.readable,
        placement=subject.placement,
        only=subject.only,
    )


def _plan_confined(other: Confined, topology: Topology, page_size: int) -> ProcessPlan:
    planned = _plan_process(other.subject, other.steps, topology, page_size)
    return replace(planned, confined=True, by_kernel=other.by_kernel)


def huge_bytes(placement: Placement, page_size: int) -> dict[int, dict[int, int]]:
    """hugetlb memory: page size → bytes by node. A placement that was read page by page counts base pages; the usual
    size of a huge page is then assumed."""
    out: dict[int, dict[int, int]] = {}
    for vma in placement.vmas:
        if vma.kind == "huge":
            # One PMD maps a page table of 8-byte entries: 2 MiB with 4 KiB pages.
            size = vma.page_size if vma.page_size > page_size else usual_huge_page_size(page_size)
            out[size] = sum_by_node([out.get(size, {}), vma.bytes_by_node])
    return out


def _room(plans: Sequence[ProcessPlan], topology: Topology, page_size: int) -> tuple[Room, ...]:
    out: list[Room] = []
    steps = [move for plan in plans for move in plan.moves]
    for target in NodeSet(step.target for plan in plans for step in plan.steps):
        node = topology.node(target)
        huge: dict[int, int] = {}
        for step in steps:
            for size, count in step.huge_pages.items() if step.target == target else ():
                huge[size] = huge.get(size, 0) + count
        out.append(
            Room(
                node=target,
                free=node.free,
                reserve=topology.low_watermarks.get(target, 0) * page_size,
                incoming=sum(step.ordinary for step in steps if step.target == target),
                outgoing=sum(step.ordinary for step in steps if step.source == target),
                huge_pages=huge,
            )
        )
    return tuple(out)
