"""Makes a plan from what was read. Pure: it reads no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backend.errors import NotFound, UsageError
from backend.machine.kernel_info import usual_huge_page_size
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import Placement, sum_by_node
from backend.plan.conditions import Conditions
from backend.plan.plan import ASSUMED_STALL, Method, Plan, PlannedMove, ProcessPlan, Room, Subject
from backend.plan.plan_warnings import warnings_of
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
) -> Plan:
    """`sharers`: pid → the other processes that map its memory. `within`: as in `Plan`. The moves follow `remap`, the
    same rule as the kernel's. Raises what `check_sets` raises."""
    check_sets(sources, targets, topology.ids, topology.memory_ids)
    conditions = conditions or Conditions()
    subjects = [replace(one, placement=one.placement.within(within)) for one in subjects]
    moves = remap(sources, targets, rule)
    plans = tuple(_plan_process(subject, moves, topology, page_size) for subject in subjects)
    room = _room(plans, moves, topology, page_size)
    plan = Plan(
        sources,
        targets,
        rule,
        method,
        moves,
        plans,
        room,
        conditions.rates,
        conditions.measured,
        conditions.stall or ASSUMED_STALL,
        within=within,
    )
    warnings = warnings_of(plan, subjects, topology, conditions, move_all=move_all, sharers=sharers or {})
    return replace(plan, warnings=tuple(warnings))


def _plan_process(subject: Subject, moves: tuple[Move, ...], topology: Topology, page_size: int) -> ProcessPlan:
    before = subject.placement.bytes_by_node
    now, huge = before, huge_bytes(subject.placement, page_size)
    planned: list[PlannedMove] = []
    for move in moves:
        if amount := now.get(move.source, 0):
            pages = {size: by_node[move.source] // size for size, by_node in huge.items() if move.source in by_node}
            planned.append(PlannedMove(move.source, move.target, amount // page_size, amount, pages))
        now = expected_after(now, [move])
        huge = {size: expected_after(by_node, [move]) for size, by_node in huge.items()}
    return ProcessPlan(subject.process, topology.node_of_cpu.get(subject.process.cpu), tuple(planned), before, now)


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


def _room(plans: Sequence[ProcessPlan], moves: Sequence[Move], topology: Topology, page_size: int) -> tuple[Room, ...]:
    out: list[Room] = []
    for target in NodeSet(move.target for move in moves):
        node = topology.node(target)
        steps = [move for plan in plans for move in plan.moves]
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
