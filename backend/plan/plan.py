"""What a migration would do: moves in order, pages, bytes, room, time, warnings. Pure: it reads no kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from backend.errors import NotFound, UsageError
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import Placement, sum_by_node
from backend.plan.conditions import Conditions
from backend.plan.remap import Move, Rule, remap
from backend.process.process import Process

if TYPE_CHECKING:
    from backend.plan.plan_warnings import Warning

Method = Literal["auto", "move_pages", "migrate_pages"]
Basis = Literal["measured", "similar", "assumed"]
METHODS: tuple[Method, ...] = ("auto", "move_pages", "migrate_pages")
ASSUMED_RATE = 1 << 30
"""Bytes per second that a move is taken to reach where nothing was measured on this machine."""
ASSUMED_STALL = 0.01
"""Seconds: what move_pages was seen to hold up others at most (see benchmarks/moving.py)."""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One step for one process. `pages` are base pages; `huge_pages`: how many of them are hugetlb pages, by their
    size."""

    source: int
    target: int
    pages: int
    bytes: int
    huge_pages: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def ordinary(self) -> int:
        """Bytes that need free memory on the target, and not pages of its hugetlb pools."""
        return self.bytes - sum(size * count for size, count in self.huge_pages.items())


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
    """A target node, in bytes. `reserve`: what the kernel keeps free (low watermarks). `huge_pages`: what is needed of
    its hugetlb pools beside that, page size → pages."""

    node: int
    free: int
    reserve: int
    incoming: int
    outgoing: int
    huge_pages: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def after(self) -> int:
        return self.free - self.incoming + self.outgoing

    @property
    def enough(self) -> bool:
        return self.after >= self.reserve


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it. `rates`: bytes a second by (source, target), `measured`: which of them were measured here and
    not between other nodes; where one is missing, an assumed one is reckoned with. `within`: only mappings that begin
    at these addresses, [start, end)."""

    sources: NodeSet
    targets: NodeSet
    rule: Rule
    method: Method
    moves: tuple[Move, ...]
    processes: tuple[ProcessPlan, ...]
    room: tuple[Room, ...]
    rates: Mapping[tuple[int, int], int]
    measured: frozenset[tuple[int, int]] = frozenset()
    usual_stall: float = ASSUMED_STALL
    warnings: tuple[Warning, ...] = ()
    within: tuple[int, int] | None = None

    @property
    def bytes(self) -> int:
        return sum(process.bytes for process in self.processes)

    @property
    def pages(self) -> int:
        return sum(move.pages for process in self.processes for move in process.moves)

    @property
    def seconds(self) -> float:
        """An estimate of how long it takes."""
        steps = (move for process in self.processes for move in process.moves)
        return sum(move.bytes / self.rates.get((move.source, move.target), ASSUMED_RATE) for move in steps)

    @property
    def rate(self) -> float:
        """Bytes a second on the whole, as estimated."""
        return self.bytes / self.seconds if self.bytes else ASSUMED_RATE

    @property
    def rate_basis(self) -> Basis:
        """What the estimate rests on, the least of it: measurements between these nodes, between others, or none."""
        steps = {(move.source, move.target) for process in self.processes for move in process.moves}
        if not steps or not steps <= self.rates.keys():
            return "assumed"
        return "measured" if steps <= self.measured else "similar"

    @property
    def stall(self) -> float:
        """Seconds for which the process itself may have to wait at a time: migrate_pages holds its memory map for the
        whole call, move_pages for one small step."""
        if self.method != "migrate_pages":
            return self.usual_stall if self.bytes else 0.0
        return max((one.bytes / self.rate for one in self.processes), default=0.0)


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
    """Raises UsageError for empty sets, NotFound for nodes that are not there, UsageError for targets without
    memory."""
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
    """`sharers`: by pid, the other processes that map its memory. `within`: as `Plan` has it. Raises what `check_sets`
    raises. The moves follow `remap`, the one rule the kernel follows too."""
    from backend.plan.plan_warnings import warnings_of

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
    return sum(max(0, after.get(node, 0) - expected.get(node, 0)) for node in NodeSet(move.source for move in moves))


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
    """hugetlb memory: page size → bytes by node. Placements read page by page count it in base pages; then the usual
    size of a huge page is taken."""
    out: dict[int, dict[int, int]] = {}
    for vma in placement.vmas:
        if vma.kind == "huge":
            size = vma.page_size if vma.page_size > page_size else page_size * page_size // 8
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
