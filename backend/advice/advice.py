"""Data of placement advice: its inputs, limits, proposals and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.heat.heat import Way
from backend.machine.access_cost import AccessCosts, CostBasis
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.plan.conditions import Conditions
from backend.plan.plan import Basis, PlannedMove, Stretches
from backend.plan.remap import Move, Rule
from backend.process.process import Process

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")

ReasonCode = Literal[
    "ended", "unreadable", "permission", "near", "small", "young", "hops", "idle", "pressure", "balancing",
    "spread", "policy", "interleave", "cpuset", "room", "shared", "slow-memory", "gain", "payback",
    "cold", "heat",
]  # fmt: skip
"""Why there is no proposal."""
DoubtCode = Literal[
    "moment", "policy-unknown", "threads", "several-nodes", "memory-only", "balancing", "stays", "short",
    "unsteady",
]  # fmt: skip
"""Why the confidence of a proposal is lowered."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no proposal. `code` is stable, for scripts; `text` is a sentence with the numbers."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubt about a proposal. `confidence`: the highest confidence that it allows."""

    code: DoubtCode
    text: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of advice. `least`: bytes of far memory below which nothing is advised. `settled`: seconds a process
    must have run at its present place. `ratio`: least factor by which an access must get cheaper; `ratio_spread`: the
    same for a process on several nodes. `idle`: a process that keeps fewer CPUs busy is idle. `longest_payback`:
    seconds."""

    least: int = 4 << 20
    settled: float = 4.0
    ratio: float = 1.05
    ratio_spread: float = 1.15
    idle: float = 0.01
    longest_payback: float = 3600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine and the caller. `moves_all`: a move also takes pages that other processes map (migrate_pages by
    root). `uptime`: seconds since boot, None if unknown. `changing`: time passes on this kernel (not in a recording of
    one sample)."""

    topology: Topology
    costs: AccessCosts
    conditions: Conditions = field(default_factory=Conditions)
    rule: Rule = "linux-6"
    page_size: int = 4096
    uid: int = 0
    moves_all: bool = False
    uptime: float | None = None
    changing: bool = True


@dataclass(frozen=True, slots=True)
class Used:
    """The memory of a process that is used. `placement`: of it alone. `stretches`: where it is, the hottest first.
    `bytes`: how much that is. `way`: how it was learnt. `steady`: how much alike it was in several windows, 0 to 1."""

    placement: Placement
    stretches: Stretches
    bytes: int
    way: Way
    steady: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to move. `bytes`: expected to move. `before`, `after`: mean cost of an access, in the unit of `basis`.
    `seconds`, `stall`: the plan's estimates, based on `rate_basis`. `payback`: seconds until the time spent is won
    back, at the earliest; None if the CPU use of the process is unknown. `heat`: what was learnt of how its memory is
    used; the costs are those of what is used, and only that moves. None: all is taken to be used alike."""

    sources: NodeSet
    targets: NodeSet
    rule_moves: tuple[Move, ...]
    moves: tuple[PlannedMove, ...]
    bytes: int
    before: float
    after: float
    basis: CostBasis
    seconds: float
    rate_basis: Basis
    stall: float
    payback: float | None
    confidence: Confidence
    doubts: tuple[Doubt, ...] = ()
    heat: Used | None = None

    @property
    def ratio(self) -> float:
        """Cost of an access before the move, divided by the cost after it."""
        return self.before / self.after if self.after else 1.0

    @property
    def saved(self) -> float:
        """Share of the cost of an access that the move saves, 0 to 1."""
        return 1 - self.after / self.before if self.before else 0.0


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for one process: either a `proposal`, or the `reasons` why there is none. `far`: bytes that could be
    nearer. `places`: node → share of its run time there. `cpus`: CPUs it keeps busy, None if unknown."""

    process: Process
    by_node: Mapping[int, int] | None
    places: Mapping[int, float]
    cpus: float | None
    far: int = 0
    proposal: Proposal | None = None
    reasons: tuple[Reason, ...] = ()
