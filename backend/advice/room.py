"""Room on a node for advised moves: its free memory less what must stay free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from backend.machine.topology import Topology
from backend.placement.placement import Placement
from backend.plan.planner import huge_bytes
from backend.plan.remap import Move

Room = Mapping[tuple[int, int], int]
"""(node, 0) → bytes of ordinary memory; (node, size) → free pages of its hugetlb pool of that page size."""
RESERVED = 50
"""1/RESERVED of a node stays free beyond the low watermark, for new allocations of its own processes."""


class HasPlacement(Protocol):
    @property
    def placement(self) -> Placement: ...


def room_of(topology: Topology, page_size: int) -> dict[tuple[int, int], int]:
    """Room on every node with memory, 0 if there is none. All of a node's memory, where it is unknown what is free."""
    out: dict[tuple[int, int], int] = {}
    for node in topology.nodes:
        if node.has_memory:
            reserve = topology.low_watermarks.get(node.id, 0) * page_size + node.total // RESERVED
            out[node.id, 0] = max(0, (node.total if node.free is None else node.free) - reserve)
            out.update({(node.id, pool.size): pool.free for pool in node.huge_pools})
    return out


def arriving(one: HasPlacement, moves: Iterable[Move], page_size: int) -> dict[tuple[int, int], int]:
    """Upper bound of what arrives at the targets, as in `Room`: everything on the sources."""
    huge = huge_bytes(one.placement, page_size)
    by_node = one.placement.bytes_by_node
    out: dict[tuple[int, int], int] = {}
    for move in moves:
        ordinary = by_node.get(move.source, 0)
        for size, where in huge.items():
            if amount := where.get(move.source, 0):
                out[move.target, size] = out.get((move.target, size), 0) + amount // size
                ordinary -= amount
        out[move.target, 0] = out.get((move.target, 0), 0) + ordinary
    return out


def fits(coming: Mapping[tuple[int, int], int], room: Room) -> bool:
    """Whether there is room for everything."""
    return all(amount <= room.get(key, 0) for key, amount in coming.items())
