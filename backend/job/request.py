"""What somebody wants moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.heat.choosing import HeatWish
from backend.plan.plan import Method, Stretches
from backend.plan.remap import Rule
from backend.selection.selection import Selection


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """`selection`: which processes. `sources`, `targets`: nodes in libnuma's grammar. `mapping`: only this mapping of
    the one process (`one_mapping.find_mapping`). `move_all`: also pages that other processes map. `confine`: the
    cpusets of the processes too. `max_rate`: bytes per second at most, 0 for no limit. `rule`: None for the kernel's
    own. `heat`: only memory that is used so. `only`: only these stretches, by pid; of other processes nothing."""

    selection: Selection
    sources: str
    targets: str
    mapping: str | None = None
    method: Method = "auto"
    move_all: bool = False
    confine: bool = False
    max_rate: int = 0
    rule: Rule | None = None
    heat: HeatWish | None = None
    only: Mapping[int, Stretches] | None = None
