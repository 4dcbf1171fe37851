"""Which memory may move on advice: neither what was placed on purpose nor what other processes map."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

from backend.nodeset import NodeSet
from backend.placement.placement import Placement, VmaPlacement
from backend.plan.plan_warnings import interleaved, policy_agrees

Obstacle = Literal["room", "cpuset", "shared", "policy", "slow-memory"]
"""What can prevent a move. Advice is tried again without each, in the order of OBSTACLES."""
OBSTACLES: tuple[Obstacle, ...] = ("room", "cpuset", "shared", "policy", "slow-memory")

# Largest deviation from the mean, as a share of it.
_EVEN = 0.1
_LEAST_NODES = 2


def on_purpose(vma: VmaPlacement, target: int) -> bool:
    """Whether the policy of a VMA binds its pages to nodes other than `target`, or interleaves them."""
    return interleaved(vma.policy) or not policy_agrees(vma.policy, NodeSet([target]))


def movable(
    placement: Placement, target: int, ignored: Container[Obstacle] = (), all_or_none: bool = False
) -> dict[int, int]:
    """Node → bytes that would move from it to `target`. A move takes all pages of a node, so a node with pages placed
    on purpose is left out. Shared pages stay. With `all_or_none` they would move too, so a node with any is left
    out."""
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
    """Whether memory lies so evenly on all nodes that it is probably interleaved. For processes whose policies are
    unknown."""
    amounts = [by_node.get(node, 0) for node in nodes]
    mean = sum(amounts) / max(1, len(amounts))
    return len(amounts) >= _LEAST_NODES and all(abs(amount - mean) <= _EVEN * mean for amount in amounts)
