"""What advice says of a process, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.machine.access_cost import AccessCosts, CostBasis
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.plan.conditions import Conditions
from backend.plan.plan import Basis, PlannedMove
from backend.plan.remap import Move, Rule
from backend.process.process import Process

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")

ReasonCode = Literal[
    "ended", "unreadable", "permission", "near", "small", "young", "hops", "idle", "pressure", "balancing",
    "spread", "policy", "interleave", "cpuset", "room", "shared", "slow-memory", "gain", "payback",
]  # fmt: skip
"""Why nothing is advised."""
DoubtCode = Literal[
    "moment", "policy-unknown", "threads", "several-nodes", "memory-only", "balancing", "stays", "short",
]  # fmt: skip
"""What lessens the confidence in advice."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not. `code` is stable, for scripts; `text` is a sentence with the numbers."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why not quite sure. `confidence`: it is no more than that."""

    code: DoubtCode
    text: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Limits:
    """`least`: bytes far away from which on it matters. `settled`: seconds that a process must have run where it runs.
    `ratio`: how many times less an access must cost afterwards; `ratio_spread`: the same for processes on several
    nodes. `idle`: CPUs kept busy below which nothing is to be gained. `longest_payback`: seconds after which it must
    have paid."""

    least: int = 4 << 20
    settled: float = 4.0
    ratio: float = 1.05
    ratio_spread: float = 1.15
    idle: float = 0.01
    longest_payback: float = 3600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine and who asks. `moves_all`: moving also moves what others map (migrate_pages by root). `uptime`:
    seconds since boot, None where it is not told. `changing`: whether time passes (not in a recording)."""

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
class Proposal:
    """What to move. `bytes`: what is expected to move. `before`, `after`: the mean cost of an access, in the unit of
    `basis`; `seconds`, `stall`: what the plan estimates, resting on `rate_basis`; `payback`: seconds until the time
    spent has been won back at the earliest, None where it is not known how busy the process is."""

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

    @property
    def ratio(self) -> float:
        """How many times less an access costs afterwards."""
        return self.before / self.after if self.after else 1.0

    @property
    def saved(self) -> float:
        """The share of the cost of an access that goes away, 0 to 1."""
        return 1 - self.after / self.before if self.before else 0.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One process: either `proposal`, or `reasons` why not. `far`: bytes that could be nearer. `places`: node → share
    of the time it runs there; `cpus`: how many it keeps busy, None where that is not known."""

    process: Process
    by_node: Mapping[int, int] | None
    places: Mapping[int, float]
    cpus: float | None
    far: int = 0
    proposal: Proposal | None = None
    reasons: tuple[Reason, ...] = ()
