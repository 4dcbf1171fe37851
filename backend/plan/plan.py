"""What a migration would do: moves in order, pages, bytes, room, time, warnings. Pure: it reads no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.plan.remap import Move, Rule
from backend.process.process import Process

Method = Literal["auto", "move_pages", "migrate_pages"]
Basis = Literal["measured", "similar", "assumed"]
Called = Literal["move_pages", "migrate_pages"]
"""The system call that a method uses."""
CALLS: tuple[Called, ...] = ("move_pages", "migrate_pages")
METHODS: tuple[Method, ...] = ("auto", "move_pages", "migrate_pages")
ASSUMED_RATE = 1 << 30
"""Bytes per second of a move if nothing was measured on this machine."""
ASSUMED_STALL = 0.01
"""Seconds: the longest stall that move_pages was seen to cause (benchmarks/moving.py)."""


Sharers = Mapping[int, Sequence[tuple[int, str]]]
"""Pid → the other processes that map its memory: (pid, name)."""
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
    "huge-pool",
    "tier",
    "pressure",
]


@dataclass(frozen=True, slots=True)
class Warning:
    """Something to know before moving. `code` is stable, for scripts; `text` says what, `fix` what to do."""

    code: Code
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move of one process. `pages`: base pages. `huge_pages`: the hugetlb pages among them, page size → number."""

    source: int
    target: int
    pages: int
    bytes: int
    huge_pages: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def ordinary(self) -> int:
        """Bytes that need free memory on the target, not pages of its hugetlb pools."""
        return self.bytes - sum(size * count for size, count in self.huge_pages.items())


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """The moves of one process, and its memory before and after (bytes by node)."""

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
    """A target node, in bytes. `reserve`: what the kernel keeps free (low watermarks). `huge_pages`: pages needed of
    its hugetlb pools in addition, page size → pages."""

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
    """`rates`: bytes per second by (source, target); ASSUMED_RATE where one is missing. `measured`: those of `rates`
    measured between the same nodes. `within`: only mappings that begin at these addresses, [start, end)."""

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
        """Estimated duration."""
        steps = (move for process in self.processes for move in process.moves)
        return sum(move.bytes / self.rates.get((move.source, move.target), ASSUMED_RATE) for move in steps)

    @property
    def rate(self) -> float:
        """Estimated mean bytes per second."""
        return self.bytes / self.seconds if self.bytes else ASSUMED_RATE

    @property
    def rate_basis(self) -> Basis:
        """The weakest basis of the estimate: measured between these nodes, between similar ones, or not at all."""
        steps = {(move.source, move.target) for process in self.processes for move in process.moves}
        if not steps or not steps <= self.rates.keys():
            return "assumed"
        return "measured" if steps <= self.measured else "similar"

    @property
    def stall(self) -> float:
        """Longest wait of the process, seconds: migrate_pages holds its mmap lock for the whole call
        (do_migrate_pages() in mm/mempolicy.c), move_pages for one small step."""
        if self.method != "migrate_pages":
            return self.usual_stall if self.bytes else 0.0
        return max((one.bytes / self.rate for one in self.processes), default=0.0)


@dataclass(frozen=True, slots=True)
class Subject:
    """A process with its placement."""

    process: Process
    placement: Placement
