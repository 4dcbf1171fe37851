"""What it costs to access the memory of a node from another: by the firmware's latencies (HMAT), else by distances
(SLIT)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from backend.machine.topology import Topology

CostBasis = Literal["latency", "distance"]


@dataclass(frozen=True, slots=True)
class AccessCosts:
    """`table`: (node that accesses, node of the memory) → cost; only their ratios mean something. `basis`: what they
    are: ns, or distances."""

    table: Mapping[tuple[int, int], float]
    basis: CostBasis

    def of(self, here: int, memory: int) -> float:
        return self.table.get((here, memory), 10.0 if here == memory else 20.0)

    def from_places(self, places: Mapping[int, float], memory: int) -> float:
        """Of one access to this node's memory, from each place by its share."""
        return sum(share * self.of(here, memory) for here, share in places.items())

    def mean(self, places: Mapping[int, float], by_node: Mapping[int, int]) -> float:
        """Of one access, with all memory used alike; 0 where there is none."""
        total = sum(by_node.values())
        costs = (self.from_places(places, node) * amount for node, amount in by_node.items())
        return sum(costs) / total if total else 0.0

    def ratio(self, places: Mapping[int, float], by_node: Mapping[int, int]) -> float | None:
        """How many times more an access costs than if all memory lay where it is used; None where there is none, or no
        place."""
        if not places or not any(by_node.values()):
            return None
        near = sum(share * self.of(here, here) for here, share in places.items())
        return self.mean(places, by_node) / near if near else None

    def surely_nearer(self, places: Mapping[int, float], source: int, target: int, holding: Iterable[int]) -> bool:
        """Whether moving pages from `source` to `target` makes the process faster, whichever of its pages it uses, as
        long as all its threads use them alike. `holding`: the nodes where it has memory.

        Work done is the sum over places of share / mean cost, which is convex in the share of used pages that move: it
        grows for any, when it grows for the first. There it grows by share * saved / mean², and the mean is between
        that of its nearest and that of its farthest node."""
        nodes = {*holding, source, target}
        balance = 0.0
        for here, share in places.items():
            saved = self.of(here, source) - self.of(here, target)
            costs = [self.of(here, node) for node in nodes]
            mean = max(costs) if saved > 0 else min(costs)
            balance += share * saved / mean**2 if mean else 0.0
        return balance > 1e-9


def read_costs(topology: Topology) -> AccessCosts:
    """The firmware tells the latency of a node's memory from where it is nearest to (Linux shows no more of the HMAT);
    from elsewhere it grows as the distance does. Distances where it is not told for every node with memory."""
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
