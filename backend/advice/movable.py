"""Which memory of a process may be moved on advice: not what somebody placed on purpose, not what others map too."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

from backend.nodeset import NodeSet
from backend.placement.placement import Placement, VmaPlacement
from backend.plan.plan_warnings import policy_agrees

Obstacle = Literal["room", "cpuset", "shared", "policy", "slow-memory"]
"""What can be in the way of a move. In this order it is asked whether it would be advised without one of them."""
OBSTACLES: tuple[Obstacle, ...] = ("room", "cpuset", "shared", "policy", "slow-memory")

_EVEN = 0.1
_LEAST_NODES = 2


def interleaved(policy: str) -> bool:
    """`interleave` and `weighted interleave`: spread on purpose."""
    return "interleave" in policy


def on_purpose(vma: VmaPlacement, target: int) -> bool:
    """Whether its policy says that its pages belong elsewhere than to `target`, or on several nodes in turn."""
    return interleaved(vma.policy) or not policy_agrees(vma.policy, NodeSet([target]))


def movable(
    placement: Placement, target: int, ignored: Container[Obstacle] = (), all_or_none: bool = False
) -> dict[int, int]:
    """Node → bytes of it that would come to `target`. A node from which pages would go that were placed on purpose is
    left out: a move takes all pages of a node. Pages that others map stay where they are; `all_or_none`: they would
    move too, so that a node that has some is left out."""
    amounts: dict[int, float] = {}
    kept: set[int] = set()
    for vma in placement.vmas:
        by_node = vma.bytes_by_node
        total = sum(by_node.values())
        if not total:
            continue
        if "policy" not in ignored and on_purpose(vma, target):
            kept |= {node for node, amount in by_node.items() if amount}
            continue
        share = 1.0 if "shared" in ignored else max(0.0, 1 - vma.shared_bytes / total)
        if share < 1 and all_or_none:
            kept |= {node for node, amount in by_node.items() if amount}
        for node, amount in by_node.items():
            amounts[node] = amounts.get(node, 0) + amount * share
    return {node: int(amount) for node, amount in sorted(amounts.items()) if node not in kept and amount >= 1}


def looks_interleaved(by_node: dict[int, int], nodes: NodeSet) -> bool:
    """Whether memory lies so evenly on all nodes that somebody must have wanted it, where policies were not told."""
    amounts = [by_node.get(node, 0) for node in nodes]
    mean = sum(amounts) / max(1, len(amounts))
    return len(amounts) >= _LEAST_NODES and all(abs(amount - mean) <= _EVEN * mean for amount in amounts)
