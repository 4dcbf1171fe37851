"""The rule that turns two sets of nodes into ordered moves, in one place for all.

Sources: do_migrate_pages() in mm/mempolicy.c and bitmap_bitremap() in lib/bitmap.c, as of 2.6.16 (the node_sets patch
of Direct Migration V8) and of 6.1. The planner predicts with it and the emulator acts by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.nodeset import NodeSet

Rule = Literal["linux-6", "direct-v8"]
"""`direct-v8` (also what cpusets of swap-2.6.15 intend): every source moves. `linux-6`: when the sets differ in size, a
source that is itself a target stays where it is."""
RULES: tuple[Rule, ...] = ("linux-6", "direct-v8")


@dataclass(frozen=True, slots=True)
class Move:
    """All pages of node `source` go to node `target`."""

    source: int
    target: int


def node_remap(node: int, sources: NodeSet, targets: NodeSet) -> int:
    """The n-th node of `sources` maps to the (n mod |targets|)-th node of `targets`; others map to themselves."""
    if not targets or node not in sources:
        return node
    rank = sum(1 for other in sources if other < node)
    return targets.nth(rank % len(targets))


def remap(sources: NodeSet, targets: NodeSet, rule: Rule = "linux-6") -> tuple[Move, ...]:
    """The moves in the order in which they are done: a target is emptied before it is filled.

    The next source is the first whose target is not itself a remaining source. If there is none (a cycle, possible only
    under `direct-v8`), it is the last that moves. Nodes that stay are left out."""
    stay = targets if rule == "linux-6" and len(sources) != len(targets) else NodeSet()
    todo = sources
    moves: list[Move] = []
    while todo:
        chosen: Move | None = None
        for node in todo:
            if node in stay:
                continue
            target = node_remap(node, sources, targets)
            if target == node:
                continue
            chosen = Move(node, target)
            if target not in todo:
                break
        if chosen is None:
            break
        todo -= NodeSet([chosen.source])
        moves.append(chosen)
    return tuple(moves)


def landing(moves: Sequence[Move], node: int) -> int:
    """The node of pages that start on `node`, after all `moves` in order."""
    for move in moves:
        if move.source == node:
            node = move.target
    return node


def landings(moves: Sequence[Move], nodes: Iterable[int]) -> dict[int, int]:
    """Node → node where its pages land, only for nodes whose pages end somewhere else."""
    ends = {node: landing(moves, node) for node in nodes}
    return {node: end for node, end in ends.items() if node != end}


def rule_of(osrelease: str) -> Rule:
    """The remap rule of a kernel release: sources that are also targets stay put since 3.5 (do_migrate_pages())."""
    match = re.match(r"(\d+)\.(\d+)", osrelease)
    return "direct-v8" if match and (int(match[1]), int(match[2])) < (3, 5) else "linux-6"


def expected_after(before: dict[int, int], moves: Sequence[Move]) -> dict[int, int]:
    """Amounts by node after all moves in order, each complete."""
    after = dict(before)
    for move in moves:
        if amount := after.pop(move.source, 0):
            after[move.target] = after.get(move.target, 0) + amount
    return dict(sorted(after.items()))


def remaining(before: dict[int, int], after: dict[int, int], moves: Sequence[Move]) -> int:
    """How much of what should have left its node is still there. A node that is emptied and then filled counts only the
    excess over its expected amount."""
    expected = expected_after(before, moves)
    return sum(max(0, after.get(node, 0) - expected.get(node, 0)) for node in NodeSet(move.source for move in moves))
