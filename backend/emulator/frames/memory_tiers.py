"""Memory tiers, from what the firmware's HMAT says of each node (mm/memory-tiers.c), and the weights of weighted
interleave that follow from it (mm/mempolicy.c reduce_interleave_weights())."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Protocol

from backend.nodeset import CpuSet

_DRAM = 576
"""MEMTIER_ADISTANCE_DRAM: the abstract distance of ordinary memory."""
_CHUNK_BITS = 7
"""MEMTIER_CHUNK_BITS: as many bits of the distance are of one tier."""
_MOST = (1 << 31) - 1
"""The distance is an int."""
_WEIGHTINESS = 32
"""The sum of weights before they are divided by what they have in common."""


class Rated(Protocol):
    """A node as the firmware rates it: nanoseconds of a read, MB/s; 0 where it says nothing."""

    @property
    def id(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def cpus(self) -> CpuSet: ...
    @property
    def latency(self) -> int: ...
    @property
    def bandwidth(self) -> int: ...


def tiers_of(nodes: Sequence[Rated]) -> dict[int, int]:
    """Node with memory → the number of its tier; smaller is faster. Nodes with CPUs are ordinary memory, and so are
    others of which the firmware says nothing (mt_perf_to_adistance())."""
    usual = next((node for node in nodes if node.cpus and node.latency and node.bandwidth), None)
    out: dict[int, int] = {}
    for node in nodes:
        distance = _DRAM
        if usual is not None and not node.cpus and node.latency and node.bandwidth:
            distance = distance * node.latency // usual.latency * usual.bandwidth // node.bandwidth
        if node.pages:
            out[node.id] = min(distance, _MOST) >> _CHUNK_BITS
    return out


def weights_of(nodes: Sequence[Rated]) -> dict[int, int]:
    """Node with memory → weight: by the bandwidths that the firmware tells, 1 where it does not."""
    having = [node for node in nodes if node.pages]
    total = max(1, sum(node.bandwidth for node in having))
    weights = {node.id: max(1, _WEIGHTINESS * node.bandwidth // total) for node in having}
    common = gcd(*weights.values())
    return {node: weight // common for node, weight in weights.items()}


def demotion_target(tiers: Mapping[int, int], distance: Mapping[int, int], node: int) -> int | None:
    """The node to which cold pages of `node` go: the nearest of the next lower tier. None for the lowest.
    `distance`: from `node` to each (establish_demotion_targets())."""
    lower = [tier for tier in tiers.values() if node in tiers and tier > tiers[node]]
    if not lower:
        return None
    candidates = [one for one, tier in tiers.items() if tier == min(lower)]
    return min(candidates, key=lambda one: (distance[one], one))
