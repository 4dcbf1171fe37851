"""What is chosen on the migrate screen, and the plan that it makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.errors import NumatuiError
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.placement.placement import sum_by_node
from backend.plan.conditions import Conditions
from backend.plan.plan import Confinement, Plan, Sharers, Subject
from backend.plan.planner import make_plan
from backend.plan.remap import rule_of
from numatui.tui.model.move_options import MoveOptions
from numatui.tui.model.presets import run_nodes


@dataclass(frozen=True, slots=True)
class Draft:
    """`within`: only mappings that begin at these addresses. `error`: what is wrong with the typed node sets."""

    sources: NodeSet
    targets: NodeSet
    how: MoveOptions
    within: tuple[int, int] | None
    conditions: Conditions
    sharers: Sharers
    confinements: Sequence[Confinement] = ()
    error: str = ""


def drafted(
    draft: Draft, subjects: Sequence[Subject], topology: Topology, release: str, page_size: int
) -> tuple[Plan | None, str]:
    """The plan, or why there is none. `release`: the kernel's, which decides the remap rule."""
    if draft.error:
        return None, draft.error
    if not draft.sources or not draft.targets:
        return None, _missing(draft, subjects, topology) if subjects else ""
    try:
        plan = make_plan(
            subjects,
            draft.sources,
            draft.targets,
            topology,
            rule=rule_of(release),
            method=draft.how.method,
            page_size=page_size,
            move_all=draft.how.move_all,
            conditions=draft.conditions,
            sharers=draft.sharers,
            within=draft.within,
            max_rate=draft.how.max_rate,
            confinements=draft.confinements,
        )
    except NumatuiError as exc:
        return None, exc.what
    return plan, ""


def likely_conditions(conditions: Conditions, topology: Topology, rates: Sequence[float]) -> Conditions:
    """Without measurements, the best rate of finished jobs (bytes a second) counts for all moves."""
    best = int(max([0, *rates]))
    if conditions.rates or not best:
        return conditions
    ids = topology.memory_ids
    return replace(conditions, rates={(a, b): best for a in ids for b in ids})


def _missing(draft: Draft, subjects: Sequence[Subject], topology: Topology) -> str:
    """What to choose next."""
    running_on = NodeSet(run_nodes(subjects, topology))
    held = sum_by_node(one.placement.bytes_by_node for one in subjects)
    if not draft.sources and not held.keys() - set(draft.targets):
        return "all its memory is where it runs; choose source nodes to move it all the same"
    if not draft.sources:
        return "choose the nodes to move from"
    if len(running_on) > 1:
        return f"they run on different nodes ({running_on}): choose where to move them, or migrate them one by one"
    return "choose the nodes to move to"
