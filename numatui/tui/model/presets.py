"""Source and target nodes for common migrations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import sum_by_node
from backend.plan.plan import Subject
from backend.process.process import Process


def run_nodes(subjects: Sequence[Subject], topology: Topology) -> list[int]:
    """The nodes on which the processes run, where known."""
    nodes = (topology.node_of_cpu.get(one.process.cpu) for one in subjects)
    return [node for node in nodes if node is not None]


def proposal(subjects: Sequence[Subject], topology: Topology) -> tuple[NodeSet, NodeSet]:
    """Initial (sources, targets). Targets: the node on which all processes run. Sources: other nodes with their memory.
    Targets are empty if the processes run on different nodes: no single pair of sets is right for all of them."""
    running = NodeSet(run_nodes(subjects, topology))
    targets = running & topology.memory_ids if len(running) == 1 else NodeSet()
    amounts = sum_by_node(one.placement.bytes_by_node for one in subjects)
    sources = NodeSet(node for node, amount in amounts.items() if amount) & topology.ids
    return (sources - running if targets else sources), targets


@dataclass(frozen=True, slots=True)
class Preset:
    """`why_not`: why the preset is not available; the sets are then empty."""

    title: str
    sources: NodeSet = field(default_factory=NodeSet)
    targets: NodeSet = field(default_factory=NodeSet)
    why_not: str = ""

    @property
    def text(self) -> str:
        return f"{self.title:<42} {self.why_not or f'{self.sources} to {self.targets}'}"


def presets(subjects: Sequence[Subject], topology: Topology, node: int) -> list[Preset]:
    """All presets for a selection of processes. `node`: the node under the cursor."""
    amounts = sum_by_node(one.placement.bytes_by_node for one in subjects)
    has = NodeSet(one for one, amount in amounts.items() if amount) & topology.ids
    return [
        _to_where_it_runs(subjects, topology),
        _pull_together(subjects, topology, amounts, has),
        _keeping_order(topology, has),
        _off_one(topology, has, node),
    ]


def each_to_where_it_runs(subjects: Sequence[Subject], topology: Topology) -> list[tuple[Process, NodeSet, NodeSet]]:
    """(process, sources, targets) for each with memory elsewhere than where it runs; what has most far away first."""
    out: list[tuple[int, Process, NodeSet, NodeSet]] = []
    for one in subjects:
        sources, targets = proposal([one], topology)
        if sources and targets:
            far = sum(one.placement.bytes_by_node.get(node, 0) for node in sources)
            out.append((far, one.process, sources, targets))
    return [(process, sources, targets) for _, process, sources, targets in sorted(out, key=lambda one: -one[0])]


def _to_where_it_runs(subjects: Sequence[Subject], topology: Topology) -> Preset:
    title = "to where it runs"
    sources, targets = proposal(subjects, topology)
    if not targets:
        return Preset(title, why_not="they run on different nodes, or on one without memory")
    if not sources:
        return Preset(title, why_not="all of it is there")
    return Preset(title, sources, targets)


def _pull_together(subjects: Sequence[Subject], topology: Topology, amounts: Mapping[int, int], has: NodeSet) -> Preset:
    """Everything to one node: the node that has most of it already. Nodes where the processes run are preferred."""
    title = "together on one node"
    running = NodeSet(run_nodes(subjects, topology)) & topology.memory_ids
    candidates = list(running or has & topology.memory_ids)
    if not candidates or not has:
        return Preset(title, why_not="there is nothing to move")
    target = max(candidates, key=lambda one: (amounts.get(one, 0), topology.node(one).free or 0, -one))
    one = NodeSet([target])
    return Preset(title, has - one, one) if has - one else Preset(title, why_not=f"all of it is on {target}")


def _keeping_order(topology: Topology, has: NodeSet) -> Preset:
    """To the same number of other nodes, most room first. Memory on different nodes stays on different nodes."""
    title = "spread over as many other nodes, in order"
    others = sorted(topology.memory_ids - has, key=_room_of(topology))[: len(has)]
    if not has or len(others) < len(has):
        return Preset(title, why_not="there are not as many nodes without its memory")
    return Preset(title, has, NodeSet(others))


def _off_one(topology: Topology, has: NodeSet, node: int) -> Preset:
    """To the nearest other node with memory; at equal distance, to the node with most room."""
    title = f"off node {node} (the one under the cursor)"
    others = topology.memory_ids - NodeSet([node])
    if node not in has or not others:
        return Preset(title, why_not="none of it is there" if others else "there is no other node")
    room = _room_of(topology)
    nearest = min(others, key=lambda one: (topology.distance(node, one), room(one)))
    return Preset(title, NodeSet([node]), NodeSet([nearest]))


def _room_of(topology: Topology) -> Callable[[int], tuple[int, int]]:
    """Sort key: most room first, then the lower node."""
    return lambda one: (-(topology.node(one).free or 0), one)
