"""Where threads run against where memory lies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from backend.machine.access_cost import AccessCosts
from backend.placement.survey import ProcessRow

Amounts = Mapping[tuple[int, int], float]
"""(node of the threads, node of the memory) → bytes."""


@dataclass(frozen=True)
class Access:
    """`amounts`: the memory of processes, divided as their threads run. What an access costs on average follows if all
    of it is used alike, by all threads. `running`, `holding`: the nodes that have any, ascending."""

    amounts: Amounts
    running: tuple[int, ...]
    holding: tuple[int, ...]

    @cached_property
    def total(self) -> float:
        return sum(self.amounts.values())

    def share(self, here: int, memory: int) -> float:
        """The share of all accesses, 0 to 1."""
        return self.amounts.get((here, memory), 0.0) / self.total if self.total else 0.0

    def cost(self, costs: AccessCosts) -> float | None:
        """Mean cost of an access divided by its cost if all memory were local; None without memory."""
        near = sum(amount * costs.of(here, here) for (here, _), amount in self.amounts.items())
        return self.spent(costs) / near if near else None

    def spent(self, costs: AccessCosts) -> float:
        """All amounts, each times the cost of an access: what `lost` is a share of."""
        return sum(amount * costs.of(here, memory) for (here, memory), amount in self.amounts.items())

    def lost(self, here: int, memory: int, costs: AccessCosts, whole: float) -> float:
        """The share of all time spent on accesses that goes into these being farther than local ones, 0 to 1.
        `whole`: `spent`, which is the same for all pairs."""
        more = costs.of(here, memory) - costs.of(here, here)
        return max(0.0, self.amounts.get((here, memory), 0.0) * more / whole) if whole else 0.0


def access_of(rows: Iterable[ProcessRow]) -> Access:
    """Of some processes together. Those of which is not known where they run or have memory are left out."""
    amounts: dict[tuple[int, int], float] = {}
    for row in rows:
        for here, share in row.places.items():
            for node, held in (row.by_node or {}).items():
                if held and share:
                    amounts[here, node] = amounts.get((here, node), 0.0) + share * held
    return Access(
        amounts, tuple(sorted({here for here, _ in amounts})), tuple(sorted({node for _, node in amounts}))
    )  # fmt: skip
