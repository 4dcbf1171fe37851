"""Chooses source and target nodes for one process, so that each page comes nearer under the rule of `remap`. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from backend.advice.advice import Surroundings, Used
from backend.advice.movable import Obstacle, movable
from backend.advice.room import Room, arriving
from backend.nodeset import NodeSet
from backend.placement.placement import Placement
from backend.plan.remap import Move, remap
from backend.process.process import Process

_LEAST_SHARE = 0.1
"""A node with a smaller share of the run time is no target."""
# All sets of up to _MOST_TARGETS out of _MOST_PLACES targets are tried: at most 14.
_MOST_PLACES = 4
_MOST_TARGETS = 3
_WORTH = 0.01
"""A source with less than this share of the memory is not worth a move of its own."""
_CLEARLY = 0.98
"""A choice with more targets must cost at most this fraction of the best choice with fewer."""


@dataclass(frozen=True, slots=True)
class Advisee:
    """A process that may get a proposal. `by_node`: bytes, from its placement. `used`: what is known of how its memory
    is used; the placement is of that alone."""

    process: Process
    placement: Placement
    places: Mapping[int, float]
    used: Used | None = None

    @property
    def by_node(self) -> dict[int, int]:
        return self.placement.bytes_by_node


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible move. `amounts`: bytes expected to move, by move. `after`: mean cost of an access afterwards."""

    sources: NodeSet
    targets: NodeSet
    moves: tuple[Move, ...]
    amounts: Mapping[Move, int]
    after: float


def targets_of(places: Mapping[int, float], world: Surroundings) -> list[int]:
    """The nodes where the memory should be, the most important first: for each place, the node with the cheapest
    memory."""
    memory = [*world.topology.memory_ids]
    costs, out = world.costs, dict[int, float]()
    for place, share in sorted(places.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PLACES]:
        if share >= _LEAST_SHARE and memory:
            best = min(memory, key=lambda node: (costs.of(place, node), node != place, node))
            out[best] = out.get(best, 0.0) + share
    return [*out]


def far_bytes(by_node: Mapping[int, int], places: Mapping[int, float], world: Surroundings) -> int:
    """Bytes that could be nearer: those on nodes that cost more to access than the best target."""
    targets = targets_of(places, world)
    if not targets:
        return 0
    best = min(world.costs.from_places(places, target) for target in targets)
    # 1.001: equal costs may differ by rounding.
    return sum(amount for node, amount in by_node.items() if world.costs.from_places(places, node) > best * 1.001)


def choose(one: Advisee, world: Surroundings, room: Room, ignored: Container[Obstacle] = ()) -> Candidate | None:
    """The candidate with the lowest cost; more targets only if they are clearly cheaper. `ignored`: obstacles to
    disregard. None if no move surely makes the process faster."""
    best: Candidate | None = None
    candidates = targets_of(one.places, world)
    for count in range(1, min(len(candidates), _MOST_TARGETS) + 1):
        found = [
            choice
            for targets in combinations(candidates, count)
            if (choice := _for_targets(one, NodeSet(targets), world, room, ignored)) is not None
        ]
        for choice in found:
            if best is None or choice.after < best.after * (_CLEARLY if len(choice.targets) > len(best.targets) else 1):
                best = choice
    return best


def _for_targets(
    one: Advisee,
    targets: NodeSet,
    world: Surroundings,
    room: Room,
    ignored: Container[Obstacle],
) -> Candidate | None:
    """The candidate with exactly these targets. Sources that must not move, or do not fit, are dropped until the rest
    can."""
    allowed = one.process.mems_allowed
    if allowed is not None and "cpuset" not in ignored and not targets.issubset(allowed):
        return None
    by_node = one.by_node
    amounts = {
        target: movable(one.placement, target, ignored, world.moves_all and "shared" not in ignored)
        for target in targets
    }
    least = max(world.page_size, sum(by_node.values()) * _WORTH)
    sources = NodeSet(node for node, amount in by_node.items() if amount) & world.topology.ids - targets
    moves: tuple[Move, ...] = ()
    while sources:
        moves = remap(sources, targets, world.rule)
        wrong = [
            move
            for move in moves
            if amounts[move.target].get(move.source, 0) < least
            or not nearer(one, move, targets, world)
            or ("slow-memory" not in ignored and _slower(move, world.conditions.tiers))
        ]
        if not wrong and "room" not in ignored:
            wrong = _too_much(one, moves, world, room)
        if not wrong:
            break
        # With several targets, dropping a source changes the targets of the others in `remap`.
        sources -= NodeSet([_least_worth(wrong, one, world).source] if len(targets) > 1 else (m.source for m in wrong))
    if not sources or NodeSet(move.target for move in moves) != targets:
        return None
    moving = {move: amounts[move.target][move.source] for move in moves}
    after = dict(by_node)
    for move, amount in moving.items():
        after[move.source] -= amount
        after[move.target] = after.get(move.target, 0) + amount
    return Candidate(sources, targets, moves, moving, world.costs.mean(one.places, after))


def nearer(one: Advisee, move: Move, targets: NodeSet, world: Surroundings) -> bool:
    """Whether this move lowers the mean cost and makes the process faster, whichever of its pages it uses."""
    costs, places = world.costs, one.places
    if costs.from_places(places, move.target) >= costs.from_places(places, move.source):
        return False
    holding = [*(node for node, amount in one.by_node.items() if amount), *targets]
    return costs.surely_nearer(places, move.source, move.target, holding)


def _slower(move: Move, tiers: Mapping[int, int]) -> bool:
    return move.source in tiers and move.target in tiers and tiers[move.target] > tiers[move.source]


def _least_worth(moves: Iterable[Move], one: Advisee, world: Surroundings) -> Move:
    costs = world.costs
    return min(
        moves,
        key=lambda move: (
            costs.from_places(one.places, move.source) - costs.from_places(one.places, move.target),
            move.source,
        ),
    )


def _too_much(one: Advisee, moves: Iterable[Move], world: Surroundings, room: Room) -> list[Move]:
    """The least useful move to a target that lacks room, as a list; empty if everything fits."""
    for (target, size), amount in arriving(one, moves, world.page_size).items():
        if amount > room.get((target, size), 0):
            return [_least_worth((move for move in moves if move.target == target), one, world)]
    return []
