"""The conditions of a migration: the caller, what the kernel does by itself, and the rates measured on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.kernel import Kernel, helped
from backend.machine.kernel_info import balancing, release, tiering
from backend.machine.kernel_versions import hides_marked_pages, holds_lock
from backend.machine.memory_tiers import demotes, read_tiers
from backend.machine.psi import memory_pressure
from backend.machine.topology import Topology
from backend.plan.plan import CALLS, Called, Method
from backend.plan.rates import best_rates, likely_rates, machine_of, own_rates, worst_stall
from backend.plan.top_tier import slow_nodes


@dataclass(frozen=True, slots=True)
class Conditions:
    """`privileged`: the caller may act on other users' processes; `helped`: on some of them, by the helper. `can`: the
    calls that are available. `holds_lock`: as in `Plan`. `balancing`: NUMA balancing is on. `tiering`: for slow memory
    only. `hides`: what it has marked is hidden from move_pages. `demotion`: the kernel moves cold pages to lower tiers.
    `slow`: nodes below the top tier. `tiers`: node → tier, smaller is faster. `pressure`: share of time in which tasks
    waited for memory, None if unknown. `rates`: (source, target) → bytes per second. `measured`: those of `rates`
    measured between the same nodes. `stall`: longest measured stall by this method, seconds; 0 if not measured."""

    privileged: bool = False
    helped: bool = False
    can: frozenset[Called] = frozenset(CALLS)
    holds_lock: bool = True
    balancing: bool = False
    tiering: bool = False
    hides: bool = False
    demotion: bool = False
    slow: frozenset[int] = frozenset()
    tiers: Mapping[int, int] = field(default_factory=dict[int, int])
    pressure: float | None = None
    rates: Mapping[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    measured: frozenset[tuple[int, int]] = frozenset()
    stall: float = 0.0

    def hides_from(self, sources: Iterable[int]) -> bool:
        """Whether pages on these nodes may be hidden from move_pages. As memory tiering, balancing marks pages of slow
        nodes only."""
        return self.hides and (not self.tiering or any(node in self.slow for node in sources))


def read_conditions(kernel: Kernel, topology: Topology, method: Method) -> Conditions:
    """The present conditions, with the rates of this method if they were measured. Never raises."""
    rates = own_rates(machine_of(kernel, topology), kernel.files) if kernel.traits.keeps_jobs else []
    best = best_rates(rates, method)
    can = kernel.capabilities()
    osrelease, tiers, on = release(kernel), read_tiers(kernel), balancing(kernel)
    return Conditions(
        privileged=kernel.credentials()[1],
        helped=bool(helped(kernel)[0]),
        can=frozenset(call for call in CALLS if can[call].available),
        holds_lock=holds_lock(osrelease),
        balancing=on,
        tiering=tiering(kernel),
        hides=on and hides_marked_pages(osrelease),
        demotion=bool(demotes(kernel)),
        tiers=tiers,
        slow=slow_nodes(tiers, (node.id for node in topology.nodes if node.cpus)),
        pressure=memory_pressure(kernel),
        rates=likely_rates(best, topology),
        measured=frozenset(best),
        stall=worst_stall(rates, method) / 1e9,
    )
