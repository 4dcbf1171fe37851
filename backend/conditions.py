"""What matters for a migration beside the nodes and the process: who asks, what the kernel does by itself, how it goes here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.facts import balancing
from backend.kernel import Kernel
from backend.pressure import memory_pressure
from backend.tiers import read_tiers


@dataclass(frozen=True, slots=True)
class Conditions:
    """`privileged`: whether the caller may act on other users' processes; `balancing`: whether NUMA balancing is on;
    `tiers`: node → tier, the smaller the faster; `pressure`: the share of time in which tasks waited for memory, None
    where it is not told; `rates`: (source, target) → bytes a second as measured here."""

    privileged: bool = False
    balancing: bool = False
    tiers: Mapping[int, int] = field(default_factory=dict[int, int])
    pressure: float | None = None
    rates: Mapping[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])


def read_conditions(kernel: Kernel) -> Conditions:
    """As they are now. Never raises."""
    return Conditions(
        privileged=kernel.credentials()[1],
        balancing=balancing(kernel),
        tiers=read_tiers(kernel),
        pressure=memory_pressure(kernel),
    )
