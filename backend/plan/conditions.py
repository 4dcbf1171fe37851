"""The conditions of a migration: the caller, what the kernel does by itself, and the rates measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.kernel import Kernel
from backend.machine.kernel_info import balancing
from backend.machine.memory_tiers import read_tiers
from backend.machine.psi import memory_pressure
from backend.machine.topology import Topology
from backend.plan.plan import Method
from backend.plan.rates import best_rates, likely_rates, load_rates, machine_of, rates_path, worst_stall


@dataclass(frozen=True, slots=True)
class Conditions:
    """`privileged`: the caller may act on other users' processes. `balancing`: NUMA balancing is on. `tiers`: node →
    tier, smaller is faster. `pressure`: share of time in which tasks waited for memory, None if unknown. `rates`:
    (source, target) → bytes per second. `measured`: those of `rates` measured between the same nodes. `stall`: longest
    measured stall by move_pages, seconds; 0 if not measured."""

    privileged: bool = False
    balancing: bool = False
    tiers: Mapping[int, int] = field(default_factory=dict[int, int])
    pressure: float | None = None
    rates: Mapping[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    measured: frozenset[tuple[int, int]] = frozenset()
    stall: float = 0.0


def read_conditions(kernel: Kernel, topology: Topology, method: Method) -> Conditions:
    """The present conditions, with the rates of this method if they were measured. Never raises."""
    rates = load_rates(rates_path(), machine_of(kernel, topology)) if kernel.traits.keeps_jobs else []
    best = best_rates(rates, method)
    return Conditions(
        privileged=kernel.credentials()[1],
        balancing=balancing(kernel),
        tiers=read_tiers(kernel),
        pressure=memory_pressure(kernel),
        rates=likely_rates(best, topology),
        measured=frozenset(best),
        stall=worst_stall(rates) / 1e9,
    )
