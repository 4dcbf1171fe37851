"""What a migration would do: moves in order, pages, bytes, room, time, warnings. Pure: it reads no kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.errors import NotFound, UsageError
from backend.nodeset import NodeSet
from backend.placement import Placement, Vma
from backend.process import Process
from backend.remap import Move, Rule, remap
from backend.topology import Topology

Method = Literal["auto", "move_pages", "migrate_pages"]
METHODS: tuple[Method, ...] = ("auto", "move_pages", "migrate_pages")
Code = Literal[
    "nothing-to-move",
    "room",
    "policy",
    "cpuset",
    "balancing",
    "shared",
    "shared-moves",
    "swap",
    "cpuless",
    "farther",
    "stall",
]
ASSUMED_RATE = 1 << 30
"""Bytes per second that a move is taken to reach where nothing was measured on this machine."""


@dataclass(frozen=True, slots=True)
class Warning:
    """Something to know before moving. `code` is stable, for scripts; `text` says what, `fix` what to do."""

    code: Code
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One step for one process. `pages` are base pages."""

    source: int
    target: int
    pages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What moves of one process, and where its memory lies before and after (bytes by node)."""

    process: Process
    runs_on: int | None
    moves: tuple[PlannedMove, ...]
    before: dict[int, int]
    after: dict[int, int]

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)


@dataclass(frozen=True, slots=True)
class Room:
    """A target node, in bytes. `reserve`: what the kernel keeps free (low watermarks)."""

    node: int
    free: int
    reserve: int
    incoming: int
    outgoing: int

    @property
    def after(self) -> int:
        return self.free - self.incoming + self.outgoing

    @property
    def enough(self) -> bool:
        return self.after >= self.reserve


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it. `seconds` is an estimate, at a rate that was measured here or merely assumed."""

    sources: NodeSet
    targets: NodeSet
    rule: Rule
    method: Method
    moves: tuple[Move, ...]
    processes: tuple[ProcessPlan, ...]
    room: tuple[Room, ...]
    rate: int
    rate_measured: bool
    warnings: tuple[Warning, ...]

    @property
    def bytes(self) -> int:
        return sum(process.bytes for process in self.processes)

    @property
    def pages(self) -> int:
        return sum(move.pages for process in self.processes for move in process.moves)

    @property
    def seconds(self) -> float:
        return self.bytes / self.rate


@dataclass(frozen=True, slots=True)
class Subject:
    """A process with its placement, as it was read."""

    process: Process
    placement: Placement


def rule_of(osrelease: str) -> Rule:
    """The remap rule of a kernel release: sources that are also targets stay put since 3.5 (do_migrate_pages())."""
    match = re.match(r"(\d+)\.(\d+)", osrelease)
    return "direct-v8" if match and (int(match[1]), int(match[2])) < (3, 5) else "linux-6"


def check_sets(sources: NodeSet, targets: NodeSet, nodes: NodeSet, memory: NodeSet) -> None:
    """Raises UsageError for empty sets, NotFound for nodes that are not there, UsageError for targets without memory."""
    for name, chosen in (("sources", sources), ("targets", targets)):
        if not chosen:
            raise UsageError(f"the {name} are an empty set of nodes", f"the nodes here are {nodes}")
        if not chosen.issubset(nodes):
            raise NotFound(
                f"there is no node {chosen - nodes} (in the {name})", f"the nodes here are {nodes}"
            )
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
    privileged: bool = False,
    balancing: bool = False,
    measured_rate: int = 0,
) -> Plan:
    """Raises what `check_sets` raises. The moves follow `remap`, the one rule the kernel follows too."""
    check_sets(sources, targets, topology.ids, topology.memory_ids)
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
        measured_rate or ASSUMED_RATE,
        bool(measured_rate),
        (),
    )
    shared_too = move_all or (method == "migrate_pages" and privileged)
    warnings = _warnings(
        plan, subjects, topology, shared_too=shared_too, move_all=move_all, balancing=balancing
    )
    return Plan(
        sources, targets, rule, method, moves, plans, room, plan.rate, plan.rate_measured, tuple(warnings)
    )


def expected_after(before: dict[int, int], moves: Sequence[Move]) -> dict[int, int]:
    """Amounts by node after all moves, done one after the other and each completely."""
    after = dict(before)
    for move in moves:
        if amount := after.pop(move.source, 0):
            after[move.target] = after.get(move.target, 0) + amount
    return dict(sorted(after.items()))


def remaining(before: dict[int, int], after: dict[int, int], moves: Sequence[Move]) -> int:
    """How much of what should have left its node is still there. A node that is filled after it was emptied counts
    only what it has beyond that."""
    expected = expected_after(before, moves)
    return sum(
        max(0, after.get(node, 0) - expected.get(node, 0)) for node in NodeSet(move.source for move in moves)
    )


def _plan_process(
    subject: Subject, moves: tuple[Move, ...], topology: Topology, page_size: int
) -> ProcessPlan:
    before = subject.placement.bytes_by_node
    now = before
    planned: list[PlannedMove] = []
    for move in moves:
        if amount := now.get(move.source, 0):
            planned.append(PlannedMove(move.source, move.target, amount // page_size, amount))
        now = expected_after(now, [move])
    return ProcessPlan(
        subject.process, topology.node_of_cpu.get(subject.process.cpu), tuple(planned), before, now
    )


def _room(
    plans: Sequence[ProcessPlan], moves: Sequence[Move], topology: Topology, page_size: int
) -> tuple[Room, ...]:
    out: list[Room] = []
    for target in NodeSet(move.target for move in moves):
        node = topology.node(target)
        steps = [move for plan in plans for move in plan.moves]
        out.append(
            Room(
                node=target,
                free=node.free,
                reserve=topology.low_watermarks.get(target, 0) * page_size,
                incoming=sum(step.bytes for step in steps if step.target == target),
                outgoing=sum(step.bytes for step in steps if step.source == target),
            )
        )
    return tuple(out)


def _warnings(
    plan: Plan,
    subjects: Sequence[Subject],
    topology: Topology,
    *,
    shared_too: bool,
    move_all: bool,
    balancing: bool,
) -> list[Warning]:
    out: list[Warning] = []
    if subjects and not plan.bytes:
        out.append(
            Warning(
                "nothing-to-move",
                f"no page lies on node {plan.sources}, or its nodes stay where they are",
                "look at the placement with numatui show PID",
            )
        )
    for room in plan.room:
        if room.incoming and not room.enough:
            short = (room.reserve - room.after) >> 20
            out.append(
                Warning(
                    "room",
                    f"node {room.node} is about {max(1, short)} MiB short: the move will stop part-way",
                    "choose more targets, or free memory there first",
                )
            )
    if balancing:
        out.append(
            Warning(
                "balancing",
                "NUMA balancing is on: it hides pages from move_pages and may move them back",
                "sysctl kernel.numa_balancing=0 while you place by hand",
            )
        )
    if plan.method == "migrate_pages" and plan.bytes:
        out.append(
            Warning(
                "stall",
                "migrate_pages holds the process's memory map for the whole call",
                "the method move_pages moves in small batches",
            )
        )
    cpuless = NodeSet(move.target for move in plan.moves if not topology.node(move.target).cpus)
    if cpuless:
        out.append(
            Warning(
                "cpuless",
                f"node {cpuless} has no CPUs: its memory is far for every process",
                "meant for cold memory only",
            )
        )
    for process_plan, subject in zip(plan.processes, subjects, strict=True):
        out.extend(_process_warnings(plan, process_plan, subject, topology, shared_too, move_all))
    return out


def _process_warnings(
    plan: Plan,
    process_plan: ProcessPlan,
    subject: Subject,
    topology: Topology,
    shared_too: bool,
    move_all: bool,
) -> list[Warning]:
    pid = process_plan.process.pid
    affected = [
        vma for vma in subject.placement.vmas if any(vma.pages.get(move.source) for move in plan.moves)
    ]
    out: list[Warning] = []
    contrary = sorted({vma.policy for vma in affected if not policy_agrees(vma.policy, plan.targets)})
    if contrary:
        out.append(
            Warning(
                "policy",
                f"{pid}: the policy {', '.join(contrary[:3])} will put new pages elsewhere than node {plan.targets}",
                "only the process itself, or its cpuset, can change its policy",
            )
        )
    allowed = process_plan.process.mems_allowed
    ends = NodeSet(move.target for move in process_plan.moves)
    if allowed is not None and not ends.issubset(allowed):
        out.append(
            Warning(
                "cpuset",
                f"{pid}: its cpuset allows node {allowed} only; new pages will not go to {ends - allowed}",
                "change the mems of its cpuset as well",
            )
        )
    shared = sum(_source_bytes(vma, plan.moves) for vma in affected if vma.mapmax > 1)
    if shared and shared_too:
        code: Code = "shared" if move_all else "shared-moves"
        out.append(
            Warning(
                code,
                f"{pid}: up to {_mib(shared)} MiB are also mapped by other processes and move for them too",
                "leave out --all, or use the method move_pages",
            )
        )
    elif shared:
        out.append(
            Warning(
                "shared",
                f"{pid}: up to {_mib(shared)} MiB are also mapped by other processes and stay",
                "--all moves them for everybody",
            )
        )
    if process_plan.process.swap:
        out.append(
            Warning(
                "swap",
                f"{pid}: {_mib(process_plan.process.swap)} MiB are in swap: they come back on the node where they are touched",
                "nothing to do unless that is far away",
            )
        )
    here = process_plan.runs_on
    if here is not None and process_plan.moves:
        old = _mean_distance(process_plan.before, here, topology)
        new = _mean_distance(process_plan.after, here, topology)
        if new > old:
            out.append(
                Warning(
                    "farther",
                    f"{pid}: it runs on node {here}, and its memory would be farther from there than now",
                    "move it to where it runs, or move the task too",
                )
            )
    return out


def policy_agrees(policy: str, targets: NodeSet) -> bool:
    """Whether new pages under this policy (numa_maps text) can only go to `targets`, or anywhere near."""
    name, colon, nodes = policy.rpartition(":")
    if not colon:
        return True
    try:
        return not name or bool(NodeSet.parse_list(nodes) & targets)
    except UsageError:
        return True


def _mib(amount: int) -> int:
    return max(1, amount >> 20)


def _source_bytes(vma: Vma, moves: Sequence[Move]) -> int:
    return sum(vma.pages.get(move.source, 0) for move in moves) * vma.page_size


def _mean_distance(by_node: dict[int, int], here: int, topology: Topology) -> float:
    total = sum(by_node.values())
    return (
        sum(topology.distance(here, node) * amount for node, amount in by_node.items()) / total
        if total
        else 0.0
    )
