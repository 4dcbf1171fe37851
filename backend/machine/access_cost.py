"""Cost of an access from one node to the memory of another: the firmware's latencies (HMAT), else distances (SLIT)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from backend.machine.topology import Topology

CostBasis = Literal["latency", "distance"]


@dataclass(frozen=True, slots=True)
class AccessCosts:
    """`table`: (accessing node, memory node) → cost, in ns or SLIT distances by `basis`. Only ratios are meaningful.
    `places` in the methods: node → share of the process's CPU time there, in sum 1."""

    table: Mapping[tuple[int, int], float]
    basis: CostBasis

    def of(self, here: int, memory: int) -> float:
        return self.table.get((here, memory), 10.0 if here == memory else 20.0)

    def from_places(self, places: Mapping[int, float], memory: int) -> float:
        """Mean cost of an access to the memory of node `memory`, weighted by places."""
        return sum(share * self.of(here, memory) for here, share in places.items())

    def mean(self, places: Mapping[int, float], by_node: Mapping[int, int]) -> float:
        """Mean cost of an access if all memory is used equally; 0 without memory. `by_node`: node → bytes."""
        total = sum(by_node.values())
        costs = (self.from_places(places, node) * amount for node, amount in by_node.items())
        return sum(costs) / total if total else 0.0

    def ratio(self, places: Mapping[int, float], by_node: Mapping[int, int]) -> float | None:
        """Mean cost of an access divided by its cost if all memory were local. None without memory or places."""
        if not places or not any(by_node.values()):
            return None
        near = sum(share * self.of(here, here) for here, share in places.items())
        return self.mean(places, by_node) / near if near else None

    def surely_nearer(self, places: Mapping[int, float], source: int, target: int, holding: Iterable[int]) -> bool:
        """Whether moving pages from `source` to `target` makes the process faster, whichever pages it uses, if all its
        threads use them equally. `holding`: the nodes where it has memory.

        The work done is the sum over places of share / mean cost. It is convex in the share of used pages that move: if
        it grows for the first page, it grows for any number. Its derivative there is share * saved / mean². The mean is
        unknown, but lies between the cost of the nearest and of the farthest node: the worse of the two is used."""
        nodes = {*holding, source, target}
        balance = 0.0
        for here, share in places.items():
            saved = self.of(here, source) - self.of(here, target)
            costs = [self.of(here, node) for node in nodes]
            mean = max(costs) if saved > 0 else min(costs)
            balance += share * saved / mean**2 if mean else 0.0
        return balance > 1e-9


def read_costs(topology: Topology) -> AccessCosts:
    """Costs from latencies if every node with memory has one, else from distances. sysfs shows the latency of a node's
    memory from its nearest initiator only (access0); from other nodes it is scaled by the distance."""
    ids = topology.ids
    distances = {(a, b): float(max(1, topology.distance(a, b))) for a in ids for b in ids}
    latencies = {node.id: node.access.get("read_latency", 0) for node in topology.nodes if node.has_memory}
    with_cpus = [node.id for node in topology.nodes if node.cpus]
    if not latencies or not all(latencies.values()) or not with_cpus:
        return AccessCosts(distances, "distance")
    nearest = {node: min(distances[here, node] for here in with_cpus) for node in latencies}
    table = {
        (here, node): latency * distances[here, node] / nearest[node]
        for here in ids
        for node, latency in latencies.items()
    }
    return AccessCosts(table, "latency")
