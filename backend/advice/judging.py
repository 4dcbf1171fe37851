"""Turns observations into advice: most gain per byte first, each proposal within the room that is left. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backend.advice import reasons
from backend.advice.advice import CONFIDENCES, Advice, Limits, Proposal, Reason, Surroundings, Used
from backend.advice.choosing import Advisee, Candidate, choose, far_bytes, targets_of
from backend.advice.movable import OBSTACLES, Obstacle
from backend.advice.observing import Observation
from backend.advice.room import Room, arriving, fits, room_of
from backend.machine.psi import PRESSING
from backend.placement.placement import Placement
from backend.plan.plan import Subject
from backend.plan.planner import make_plan
from backend.process.process import Identity


def needs_a_look(observations: Mapping[Identity, Observation], world: Surroundings, limits: Limits) -> list[Identity]:
    """Processes whose mappings must be read before they can be judged."""
    if len(world.topology.memory_ids) < 2:
        return []
    return [
        identity
        for identity, one in observations.items()
        if not reasons.of_a_process(one, world, limits, limits.settled)
    ]


def advise(
    observations: Mapping[Identity, Observation],
    placements: Mapping[Identity, Placement],
    world: Surroundings,
    limits: Limits | None = None,
    used: Mapping[Identity, Used | str] | None = None,
) -> list[Advice]:
    """Advice for every process: first the proposals, most gain per byte first, then the processes without one, most far
    memory first. `placements`: of the processes that `needs_a_look` named. `used`: what is used of those that were
    watched, or why that is not known: then there is no proposal. Together the proposals never need more room
    than there is."""
    limits = limits or Limits()
    room = room_of(world.topology, world.page_size)
    declined: list[Advice] = []
    open_: list[tuple[Observation, Advisee, Advice]] = []
    for identity, observation in observations.items():
        first = _first(observation, world, limits)
        placement = placements.get(identity)
        if first.reasons:
            declined.append(first)
        elif placement is None:
            declined.append(replace(first, reasons=(Reason("ended", "it ended, or its mappings cannot be read"),)))
        else:
            heat = (used or {}).get(identity)
            if isinstance(heat, str):
                text = f"what it uses of its memory is not known: {heat}"
                declined.append(replace(first, reasons=(Reason("heat", text),)))
                continue
            shown = placement if heat is None else heat.placement
            subject = Advisee(observation.row.process, shown, observation.places, heat)
            open_.append((observation, subject, _propose(observation, subject, first, world, limits, room)))
    accepted: list[Advice] = []
    open_.sort(key=lambda one: (-_worth(one[2]), one[1].process.pid))
    for observation, subject, advice in open_:
        if advice.proposal is not None and not fits(_coming(subject, advice.proposal, world), room):
            advice = _propose(observation, subject, advice, world, limits, room)
        if advice.proposal is None:
            declined.append(advice)
            continue
        for key, amount in _coming(subject, advice.proposal, world).items():
            room[key] = room.get(key, 0) - amount
        accepted.append(advice)
    declined.sort(key=lambda one: (-one.far, one.process.pid))
    return [*accepted, *declined]


def _first(observation: Observation, world: Surroundings, limits: Limits) -> Advice:
    row, places = observation.row, observation.places
    far = far_bytes(row.by_node or {}, places, world)
    why = reasons.of_a_process(observation, world, limits, limits.settled)
    if not why and len(world.topology.memory_ids) < 2:
        why = [Reason("near", "there is one node with memory")]
    return Advice(row.process, row.by_node, places, observation.cpus, far, reasons=tuple(why))


def _worth(advice: Advice) -> float:
    """CPU seconds saved per second, per byte moved."""
    proposal = advice.proposal
    if proposal is None:
        return 0.0
    return proposal.saved * (1.0 if advice.cpus is None else advice.cpus) / max(1, proposal.bytes)


def _coming(one: Advisee, proposal: Proposal, world: Surroundings) -> dict[tuple[int, int], int]:
    return arriving(one, proposal.rule_moves, world.page_size)


def _propose(
    observation: Observation,
    one: Advisee,
    advice: Advice,
    world: Surroundings,
    limits: Limits,
    room: Room,
) -> Advice:
    """The advice with a proposal, or with the reasons why there is none."""
    far = far_bytes(one.by_node, one.places, world)
    known = replace(advice, far=far, proposal=None, reasons=())
    if one.used is None:
        known = replace(known, by_node=one.by_node)
    elif far < limits.least:
        text = f"of what is far from where it runs only {reasons.mib(far)} are used"
        return replace(known, reasons=(Reason("cold", text),))
    choice = choose(one, world, room)
    if choice is None:
        return replace(known, reasons=tuple(_why_not(one, world, room, far)))
    proposal = _proposal(observation, one, choice, world)
    why = [
        *_machine(world, observation, one),
        *_gain(proposal, one, choice, limits),
        *_cost(proposal, observation, world, limits),
    ]
    return replace(known, reasons=tuple(why)) if why else replace(known, proposal=proposal)


def _why_not(one: Advisee, world: Surroundings, room: Room, far: int) -> list[Reason]:
    """Each obstacle whose absence alone would allow a move; if there is none, those that prevent it together."""
    alone: list[Obstacle] = [obstacle for obstacle in OBSTACLES if choose(one, world, room, (obstacle,)) is not None]
    together: list[Obstacle] = []
    if not alone and choose(one, world, room, OBSTACLES) is not None:
        together = [
            obstacle
            for obstacle in OBSTACLES
            if choose(one, world, room, [other for other in OBSTACLES if other != obstacle]) is None
        ]
    found = reasons.of_obstacles(alone or together, one, world, room, far)
    return found or [reasons.spread(one, far)]


def _proposal(observation: Observation, one: Advisee, choice: Candidate, world: Surroundings) -> Proposal:
    plan = make_plan(
        [Subject(one.process, one.placement, only=None if one.used is None else one.used.stretches)],
        choice.sources, choice.targets, world.topology,
        rule=world.rule, page_size=world.page_size, conditions=world.conditions,
    )  # fmt: skip
    before = world.costs.mean(one.places, one.by_node)
    saved = 1 - choice.after / before
    cpus = observation.cpus
    made = Proposal(
        sources=choice.sources, targets=choice.targets, rule_moves=choice.moves,
        moves=plan.processes[0].moves, bytes=sum(choice.amounts.values()),
        before=before, after=choice.after, basis=world.costs.basis,
        seconds=plan.seconds, rate_basis=plan.rate_basis, stall=plan.stall,
        payback=(plan.seconds + plan.stall) / (cpus * saved) if cpus and saved > 0 else None,
        confidence="high", heat=one.used,
    )  # fmt: skip
    doubts = reasons.doubts_of(observation, one, made, world)
    sure = min([CONFIDENCES.index("high"), *(CONFIDENCES.index(doubt.confidence) for doubt in doubts)])
    return replace(made, confidence=CONFIDENCES[sure], doubts=doubts)


def _machine(world: Surroundings, observation: Observation, one: Advisee) -> list[Reason]:
    """Reasons in the present state of the machine."""
    out: list[Reason] = []
    pressure = world.conditions.pressure
    if pressure is not None and pressure >= PRESSING:
        out.append(Reason("pressure", f"tasks wait for memory {pressure:.0%} of the time: moving makes that worse"))
    followed = observation.followed(targets_of(one.places, world)) if world.conditions.balancing else 0
    if followed >= world.page_size:
        out.append(
            Reason(
                "balancing",
                f"NUMA balancing is on and moves it already: {reasons.mib(followed)} came nearer in "
                f"{reasons.seconds(observation.settled)}",
            )
        )
    return out


def _gain(proposal: Proposal, one: Advisee, choice: Candidate, limits: Limits) -> list[Reason]:
    least = limits.ratio_spread if len(one.places) > 1 else limits.ratio
    out: list[Reason] = []
    if proposal.bytes < limits.least:
        out.append(
            Reason(
                "small",
                f"only {reasons.mib(proposal.bytes)} would move; less than {reasons.mib(limits.least)} are not "
                "worth it",
            )
        )
    if proposal.ratio < least:
        nodes = ", as it runs on several nodes" if len(one.places) > 1 else ""
        out.append(
            Reason(
                "gain",
                f"an access would cost {proposal.ratio:.2f} times less; it has to be {least:.2f} times at least{nodes}",
            )
        )
    return out


def _cost(proposal: Proposal, observation: Observation, world: Surroundings, limits: Limits) -> list[Reason]:
    """A move must pay back before the process is expected to end. Its remaining life is taken to equal its age."""
    if proposal.payback is None:
        return []
    age = reasons.age_of(observation, world)
    expected = max(observation.settled, age if age is not None else observation.watched)
    if proposal.payback <= min(expected, limits.longest_payback):
        return []
    return [
        Reason(
            "payback",
            f"moving takes {reasons.seconds(proposal.seconds)} and pays back in {reasons.seconds(proposal.payback)} "
            "at the earliest; "
            f"it has run for {reasons.seconds(expected)}",
        )
    ]
