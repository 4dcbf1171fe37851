"""What somebody wants moved."""

from __future__ import annotations

from dataclasses import dataclass

from backend.plan.plan import Method
from backend.plan.remap import Rule


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """`sources`, `targets`: nodes in libnuma's grammar. `tree`: also the descendants of `pids`. `cgroup`: also all
    processes in it and below. `mapping`: only this mapping of the one process (`one_mapping.find_mapping`). `move_all`:
    also pages that other processes map. `confine`: the cpusets of the processes too. `max_rate`: bytes per second at
    most, 0 for no limit. `rule`: None for the kernel's own."""

    pids: tuple[int, ...]
    sources: str
    targets: str
    tree: bool = False
    cgroup: str | None = None
    mapping: str | None = None
    method: Method = "auto"
    move_all: bool = False
    confine: bool = False
    max_rate: int = 0
    rule: Rule | None = None
