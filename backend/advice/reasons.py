"""The sentences of advice: why there is no proposal, and what lowers the confidence of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.advice.advice import Advice, Doubt, Limits, Proposal, Reason, Surroundings
from backend.advice.choosing import Advisee, far_bytes, targets_of
from backend.advice.movable import Obstacle, looks_interleaved, on_purpose
from backend.advice.observing import Observation
from backend.advice.room import Room
from backend.files.text import printable
from backend.nodeset import NodeSet
from backend.plan.plan_warnings import interleaved
from backend.process.process import HERTZ

_STEADY = 0.5
"""Of what is used: with less that is alike from window to window, the confidence is lower."""


def mib(amount: int) -> str:
    """`12 MiB`, `600 KiB`."""
    return f"{amount >> 20} MiB" if amount >= 10 << 20 else f"{amount / 1024:.0f} KiB"


def where(places: Mapping[int, float]) -> str:
    """`node 3`, or `node 0 (60 %), 1 (40 %)`."""
    if len(places) < 2:
        return f"node {next(iter(places), '?')}"
    shares = ", ".join(f"{node} ({share:.0%})" for node, share in sorted(places.items(), key=lambda one: -one[1]))
    return f"node {shares}"


def seconds(amount: float) -> str:
    """`0.4 s`, `3 min`."""
    return f"{amount:.1f} s" if amount < 120 else f"{amount / 60:.0f} min"


def of_a_process(observation: Observation, world: Surroundings, limits: Limits, needed: float) -> list[Reason]:
    """Reasons that need no look at its mappings, the most important first. `needed`: seconds it must have run at its
    present place."""
    row, places = observation.row, observation.places
    if row.by_node is None:
        return [_unreadable(observation, world)]
    if not places:
        return [Reason("unreadable", "the node where it runs is unknown")]
    total = sum(row.by_node.values())
    far = far_bytes(row.by_node, places, world)
    if not total:
        return [Reason("small", "it has no memory")]
    if not far:
        return [Reason("near", f"all its {mib(total)} are as near as possible to {where(places)}, where it runs")]
    if far < limits.least:
        return [
            Reason(
                "small",
                f"only {mib(far)} are not where it runs; less than {mib(limits.least)} is not worth a move",
            )
        ]
    out: list[Reason] = []
    if world.changing:
        out += _steadiness(observation, world, needed)
        cpus = observation.cpus
        if not out and cpus is not None and cpus < limits.idle:
            out.append(
                Reason(
                    "idle",
                    f"it was idle for the {seconds(observation.settled)} that it was watched: nothing gets faster",
                )
            )
    if not (world.conditions.privileged or world.conditions.helped) and row.process.uid != world.uid:
        out.append(
            Reason(
                "permission",
                f"it belongs to {printable(row.process.user, 40)}: only root and its owner may move its memory",
            )
        )
    return out


def _unreadable(observation: Observation, world: Surroundings) -> Reason:
    process = observation.row.process
    if not world.conditions.privileged and process.uid != world.uid:
        return Reason("permission", f"it belongs to {printable(process.user, 40)}: root can see where its memory lies")
    return Reason("unreadable", "the kernel does not show where its memory is")


def _steadiness(observation: Observation, world: Surroundings, needed: float) -> list[Reason]:
    places, settled = where(observation.places), observation.settled
    hops = observation.hops
    if hops > 1 and settled < 2 * observation.stay + needed:
        return [
            Reason(
                "hops",
                f"it went to other nodes {hops} times in {seconds(observation.watched)}; on {places} for "
                f"{seconds(settled)} now",
            )
        ]
    if settled >= needed:
        return []
    if hops:
        return [Reason("hops", f"it has run on {places} for {seconds(settled)} only, and elsewhere before")]
    age = age_of(observation, world)
    since = (
        f"it began {seconds(age)} ago"
        if age is not None and age < needed
        else f"it was watched for {seconds(settled)} only"
    )
    return [Reason("young", f"{since}; it has to run on {places} for {seconds(needed)} first")]


def age_of(observation: Observation, world: Surroundings) -> float | None:
    """Seconds since the process began; None if unknown."""
    if world.uptime is None:
        return None
    return max(0.0, world.uptime - observation.row.process.identity.start_time / HERTZ)


def of_obstacles(
    obstacles: Sequence[Obstacle], one: Advisee, world: Surroundings, room: Room, far: int
) -> list[Reason]:
    """Why a move that would make it faster is not advised."""
    return [_obstacle(obstacle, one, world, room, far) for obstacle in obstacles]


def _obstacle(obstacle: Obstacle, one: Advisee, world: Surroundings, room: Room, far: int) -> Reason:
    targets = NodeSet(targets_of(one.places, world))
    if obstacle == "room":
        left = ", ".join(f"node {node} can take {mib(room.get((node, 0), 0))}" for node in targets)
        return Reason("room", f"{mib(far)} would come, but {left} (beyond what must stay free)")
    if obstacle == "cpuset":
        path = printable(one.process.cpuset, 60)
        return Reason(
            "cpuset",
            f"its cpuset {path} allows node {one.process.mems_allowed} only, and it runs on {where(one.places)}",
        )
    if obstacle == "shared":
        shared = sum(vma.shared_bytes for vma in one.placement.vmas)
        return Reason("shared", f"up to {mib(shared)} are mapped by other processes too, which may run elsewhere")
    if obstacle == "slow-memory":
        return Reason("slow-memory", f"node {targets} is slower memory (a lower tier) than where its memory is")
    target = targets.first()
    kept: dict[str, int] = {}
    for vma in one.placement.vmas:
        if on_purpose(vma, target):
            kept[vma.policy] = kept.get(vma.policy, 0) + sum(vma.bytes_by_node.values())
    policy, amount = max(kept.items(), key=lambda item: item[1], default=("", 0))
    name = printable(policy, 60)
    if interleaved(policy):
        return Reason("interleave", f"{mib(amount)} are spread on purpose ({name})")
    return Reason("policy", f"{mib(amount)} were placed on purpose ({name}): only the process can change that")


def spread(one: Advisee, far: int) -> Reason:
    """No move of whole nodes brings it nearer to all places where it runs."""
    if len(one.places) > 1:
        return Reason(
            "spread",
            f"it runs on {where(one.places)}: memory moved nearer to one node would be farther from the others",
        )
    return Reason("near", f"its {mib(far)} elsewhere cannot come nearer to {where(one.places)}")


def doubts_of(observation: Observation, one: Advisee, proposal: Proposal, world: Surroundings) -> tuple[Doubt, ...]:
    """What lowers the confidence of a proposal."""
    row = observation.row
    out: list[Doubt] = []
    if not world.changing:
        out.append(
            Doubt(
                "moment",
                "a recording shows one moment: whether it stays there, and is busy, is not known",
                "low",
            )
        )
    if any(vma.policy in ("", "?") for vma in one.placement.vmas):
        even = looks_interleaved(one.by_node, world.topology.memory_ids)
        text = "its policies are not read" + (
            ", and it lies so evenly that it may be interleaved on purpose" if even else ""
        )
        out.append(Doubt("policy-unknown", text, "low" if even else "medium"))
    if row.threads_left_out:
        out.append(
            Doubt("threads", f"{row.threads_left_out} of its threads were not read: they may run elsewhere", "medium")
        )
    if len(one.places) > 1:
        out.append(
            Doubt(
                "several-nodes",
                f"it runs on {where(one.places)}, assumed to use its memory equally from each",
                "medium",
            )
        )
    bare = NodeSet(node for node in proposal.sources if not world.topology.node(node).cpus)
    if bare:
        out.append(
            Doubt(
                "memory-only",
                f"node {bare} has no CPUs: what is there may have been put there because it is not used",
                "low",
            )
        )
    if world.conditions.balancing and not world.conditions.tiering:
        out.append(Doubt("balancing", "NUMA balancing is on and has not moved it: it may not be used", "low"))
    stays = sum(move.bytes for move in proposal.moves) - proposal.bytes
    if stays >= 1 << 20:
        out.append(Doubt("stays", f"{mib(stays)} are mapped by other processes too and stay", "high"))
    if world.changing and proposal.payback is not None and observation.settled < 3 * proposal.payback:
        out.append(
            Doubt(
                "short",
                f"it was watched for {seconds(observation.settled)}, not much longer than it takes to pay back",
                "medium",
            )
        )
    if one.used is not None and one.used.steady < _STEADY:
        alike = f"what it uses was alike to {one.used.steady:.0%} only from one window to another"
        out.append(Doubt("unsteady", alike, "medium"))
    return tuple(out)


def summary_of(advice: Advice) -> str:
    """The gain of a proposal and its basis in one sentence; without a proposal, the reasons."""
    proposal = advice.proposal
    if proposal is None:
        return "; ".join(one.text for one in advice.reasons)
    basis = (
        f"{proposal.before:.0f} ns → {proposal.after:.0f} ns by the firmware's latencies"
        if proposal.basis == "latency"
        else f"mean distance {proposal.before:.1f} → {proposal.after:.1f}"
    )
    used = "if it uses all its memory alike"
    if proposal.heat is not None:
        used = f"of the {mib(proposal.heat.bytes)} that it uses"
    return f"an access costs {proposal.ratio:.2f} times less ({basis}), {used}"
