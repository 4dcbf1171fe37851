"""What a migration would do: moves in order, pages, bytes, room, time, warnings. Pure: it reads no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.plan.reasons import Reason
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


Stretches = tuple[tuple[int, int], ...]
"""Addresses [start, end) of one process, without overlaps."""
Sharers = Mapping[int, Sequence[tuple[int, str]]]
"""Pid → the other processes that map its memory: (pid, name)."""
Code = Literal[
    "nothing-to-move",
    "room",
    "policy",
    "spread",
    "cpuset",
    "balancing",
    "demotion",
    "shared",
    "shared-moves",
    "swap",
    "cpuless",
    "farther",
    "stall",
    "huge-pool",
    "tier",
    "pressure",
    "fallback",
    "confined",
    "ended",
    "heat",
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


Fallback = Literal["", "balancing", "cpuset"]
"""Why migrate_pages moves what move_pages cannot: pages that await a NUMA hinting fault, or a target outside the cpuset
of the process. Empty: it does not."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """The moves of one process, and its memory before and after (bytes by node). `steps`: the moves to make, in order,
    also those for which it has no page now. `shared`: bytes that other processes map too, at most. `confined`: it is
    not asked for, but shares a cpuset that is narrowed. `by_kernel`: as in `Confined`. `readable`: `before` is
    known. `placement`: what `before` was added up from. `only`: stretches of addresses, the first ones first; None: all
    of its memory."""

    process: Process
    runs_on: int | None
    moves: tuple[PlannedMove, ...]
    before: dict[int, int]
    after: dict[int, int]
    steps: tuple[Move, ...] = ()
    shared: int = 0
    confined: bool = False
    by_kernel: bool = False
    readable: bool = True
    placement: Placement | None = field(default=None, repr=False, compare=False)
    only: Stretches | None = None

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)


@dataclass(frozen=True, slots=True)
class Room:
    """A target node, in bytes. `free`: None if unknown. `reserve`: what the kernel keeps free (low watermarks).
    `huge_pages`: pages needed of its hugetlb pools in addition, page size → pages."""

    node: int
    free: int | None
    reserve: int
    incoming: int
    outgoing: int
    huge_pages: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def after(self) -> int | None:
        return None if self.free is None else self.free - self.incoming + self.outgoing

    @property
    def missing(self) -> int:
        """Bytes for which there is no room; 0 where it is unknown, as the kernel refuses what does not fit."""
        return max(0, self.reserve - self.after) if self.after is not None else 0

    @property
    def enough(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True)
class Confined:
    """A process that is not asked for, but is in a cpuset that changes, or in one below it. `steps`: where its pages
    go. `by_kernel`: its own cpuset lets nobody move them there before: the kernel does, when the mems are narrowed."""

    subject: Subject
    steps: tuple[Move, ...]
    by_kernel: bool = False


@dataclass(frozen=True, slots=True)
class Confinement:
    """A cpuset whose processes may use the nodes `targets` from now on. `mems`: those that they may use now. `written`,
    `final`: what its file says now and in the end; empty where it inherits. `others`: the processes in it that are not
    asked for; they are confined too. `pids`: those that are asked for."""

    path: str
    mems: NodeSet
    written: NodeSet
    targets: NodeSet
    final: NodeSet
    pids: frozenset[int]
    others: tuple[Confined, ...] = ()

    @property
    def wide(self) -> NodeSet:
        """The mems while pages move: they may be on the old nodes and on the new ones."""
        return self.mems | self.targets


@dataclass(frozen=True, slots=True)
class Plan:
    """`rates`: bytes per second by (source, target); ASSUMED_RATE where one is missing. `measured`: those of `rates`
    measured between the same nodes. `within`: only mappings that begin at these addresses, [start, end). `calls`: the
    system call that moves. `fallback`: why migrate_pages moves the rest. `holds_lock`: this kernel holds the memory map
    of the process for the whole of a migrate_pages. `move_all`: also pages that other processes map. `max_rate`: bytes
    per second at most, 0 for no limit. `stays`: bytes that will stay, at most, by reason. `undoes`: the job that it
    takes back. `at`: when placements were read, nanoseconds of the kernel's clock; 0: unknown."""

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
    calls: Called = "move_pages"
    fallback: Fallback = ""
    holds_lock: bool = True
    move_all: bool = False
    max_rate: int = 0
    stays: Mapping[Reason, int] = field(default_factory=dict[Reason, int])
    confinements: tuple[Confinement, ...] = ()
    undoes: str = ""
    at: int = 0

    @property
    def asked(self) -> tuple[ProcessPlan, ...]:
        """The processes that were asked for."""
        return tuple(one for one in self.processes if not one.confined)

    @property
    def partial(self) -> bool:
        """Whether it is about parts of mappings: those that are hot, or cold."""
        return any(one.only is not None for one in self.processes)

    @property
    def bytes(self) -> int:
        return sum(process.bytes for process in self.processes)

    @property
    def pages(self) -> int:
        return sum(move.pages for process in self.processes for move in process.moves)

    @property
    def seconds(self) -> float:
        """Estimated duration, within the limit."""
        steps = (move for process in self.processes for move in process.moves)
        free = sum(move.bytes / self.rates.get((move.source, move.target), ASSUMED_RATE) for move in steps)
        return max(free, self.bytes / self.max_rate) if self.max_rate else free

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
        """Longest wait of a process, seconds: of one small step, or of a whole call where `holds_lock`."""
        if not self.bytes or self.calls != "migrate_pages" or not self.holds_lock:
            return self.usual_stall if self.bytes else 0.0
        return self.whole_call

    @property
    def whole_call(self) -> float:
        """Seconds of the longest migrate_pages that moves everything of one process."""
        return max((one.bytes / self.rate for one in self.processes), default=0.0)


@dataclass(frozen=True, slots=True)
class Subject:
    """A process with its placement. `readable`: the placement is known; it is empty otherwise. `only`: as in
    `ProcessPlan`; the placement is of these stretches."""

    process: Process
    placement: Placement
    readable: bool = True
    only: Stretches | None = None
