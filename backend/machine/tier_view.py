"""Nodes by tier, and what the kernel does between tiers by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.kernel import Kernel
from backend.machine.kernel_info import read_fact, read_or_nothing
from backend.machine.memory_tiers import demotes, read_tiers
from backend.machine.migrators import DEMOTIONS, PROMOTION, Migrator, by_migrator
from backend.machine.topology import Node, Topology, parse_counters

_PROMOTION_LIMIT = "/proc/sys/kernel/numa_balancing_promote_rate_limit_MBps"


@dataclass(frozen=True, slots=True)
class Tier:
    """`number`: the kernel's, a smaller one is faster; None where it has no tiers. `nodes`: those with memory."""

    number: int | None
    nodes: tuple[Node, ...]

    @property
    def total(self) -> int:
        return sum(node.total for node in self.nodes)

    @property
    def free(self) -> int | None:
        """Bytes; None if it is not told of a node."""
        found = [node.free for node in self.nodes]
        return None if any(one is None for one in found) else sum(one or 0 for one in found)


@dataclass(frozen=True, slots=True)
class TierView:
    """`demotion`: cold pages go to a lower tier when memory is short; None: the kernel has none. `balancing`: the mode
    of NUMA balancing, 0 off, 2 hot pages come to a higher tier. `promotion_limit`: bytes a second of that; None if it
    is not told. `migrated`: pages since boot by who moved them. `demoted`, `promoted`: node → pages since boot that
    left it, that came to it; for nodes that count them."""

    tiers: tuple[Tier, ...]
    demotion: bool | None
    balancing: int | None
    promotion_limit: int | None
    migrated: Mapping[Migrator, float]
    demoted: Mapping[int, int]
    promoted: Mapping[int, int]

    @property
    def promotes(self) -> bool:
        return self.balancing is not None and bool(self.balancing & 2)


def read_tier_view(kernel: Kernel, topology: Topology) -> TierView:
    """Never raises OSError."""
    numbers = read_tiers(kernel)
    memory = [node for node in topology.nodes if node.has_memory]
    groups: dict[int | None, list[Node]] = {}
    for node in memory:
        groups.setdefault(numbers.get(node.id), []).append(node)
    ordered = sorted(groups, key=lambda number: (number is None, number or 0))
    limit = read_fact(kernel, _PROMOTION_LIMIT)
    mode = read_fact(kernel, "/proc/sys/kernel/numa_balancing")
    return TierView(
        tuple(Tier(number, tuple(groups[number])) for number in ordered),
        demotes(kernel),
        int(mode) if mode.isascii() and mode.isdigit() else None,
        int(limit) << 20 if limit.isascii() and limit.isdigit() and len(limit) < 12 else None,
        by_migrator(parse_counters(read_or_nothing(kernel, "/proc/vmstat"))),
        _of_nodes(memory, DEMOTIONS),
        _of_nodes(memory, (PROMOTION,)),
    )


def _of_nodes(nodes: list[Node], names: tuple[str, ...]) -> dict[int, int]:
    return {
        node.id: sum(node.vmstat.get(name, 0) for name in names)
        for node in nodes
        if any(name in node.vmstat for name in names)
    }
