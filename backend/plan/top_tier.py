"""Which memory the kernel takes for slow: balancing as memory tiering moves hot pages out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def slow_nodes(tiers: Mapping[int, int], with_cpus: Iterable[int]) -> frozenset[int]:
    """The nodes below the top tier, which reaches down to the slowest tier that has CPUs (node_is_toptier() in
    mm/memory-tiers.c)."""
    top = max((tiers[node] for node in with_cpus if node in tiers), default=max(tiers.values(), default=0))
    return frozenset(node for node, tier in tiers.items() if tier > top)
