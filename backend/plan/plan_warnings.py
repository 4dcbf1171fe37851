"""Warnings before a move: each says what the problem is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backend.errors import UsageError
from backend.files.text import printable
from backend.machine.memory_tiers import DEMOTION
from backend.machine.psi import PRESSING
from backend.machine.topology import Topology
from backend.nodeset import NodeSet
from backend.plan.conditions import Conditions
from backend.plan.plan import Confinement, Plan, ProcessPlan, Sharers, Subject, Warning

_NAMED = 3
"""Processes that a warning lists by name."""


def warnings_of(
    plan: Plan, subjects: Sequence[Subject], topology: Topology, conditions: Conditions, sharers: Sharers
) -> list[Warning]:
    """All warnings: those of the machine first, then process by process. `subjects`: those of `plan.processes`, or none
    for an undo, which takes back what was warned about."""
    out = [*_of_the_machine(plan, subjects, topology, conditions), *_of_the_method(plan, conditions)]
    out += [_confined(one) for one in plan.confinements]
    for process_plan, subject in zip(plan.processes, subjects, strict=False):
        if not process_plan.confined:
            out += _of_a_process(plan, process_plan, subject, topology, conditions, sharers)
    return out


def room_warnings(plan: Plan, topology: Topology) -> Iterator[Warning]:
    """Targets, and pools of huge pages there, that are too small for all that comes."""
    for room in plan.room:
        if room.incoming and not room.enough:
            short = max(1, room.missing >> 20)
            yield Warning(
                "room",
                f"node {room.node} is about {short} MiB short: the move will stop part-way",
                "choose more targets, or free memory there first",
            )
        for size, wanted in room.huge_pages.items():
            free = next((pool.free for pool in topology.node(room.node).huge_pools if pool.size == size), 0)
            if wanted > free:
                yield Warning(
                    "huge-pool",
                    f"{wanted} huge pages of {size >> 20} MiB come to node {room.node}, whose pool has {free} free: "
                    "the others stay, or the kernel allocates huge pages for them",
                    f"enlarge the pool of node {room.node} first (nr_hugepages)",
                )


def _of_the_machine(
    plan: Plan, subjects: Sequence[Subject], topology: Topology, conditions: Conditions
) -> Iterator[Warning]:
    if plan.processes and not plan.bytes and not plan.undoes:
        yield Warning(
            "nothing-to-move",
            f"node {plan.sources} has no page that would move",
            "look at the placement with numatui show PID",
        )
    yield from room_warnings(plan, topology)
    slower, faster = _tiers_crossed(plan, conditions)
    hidden = "those that await its next look are hidden from move_pages and stay" if "hidden" in plan.stays else ""
    if conditions.tiering and (slower or hidden):
        up = f"hot pages that come to node {slower} move up again by themselves" if slower else ""
        says = f"memory tiering is on: {'; '.join(filter(None, (up, hidden and f'of the pages there, {hidden}')))}"
    elif conditions.balancing and not conditions.tiering:
        says = "NUMA balancing is on: it may move pages back" + (f", and {hidden}" if hidden else "")
    else:
        says = ""
    if says:
        yield Warning("balancing", says, "sysctl kernel.numa_balancing=0 while you place by hand")
    if conditions.pressure is not None and conditions.pressure >= PRESSING and plan.bytes:
        yield Warning(
            "pressure",
            f"tasks wait for memory {conditions.pressure:.0%} of the time: moving makes that worse",
            "free memory first, or limit the rate with --max-rate",
        )
    cpuless = NodeSet(move.target for move in plan.moves if not topology.node(move.target).cpus)
    if cpuless:
        yield Warning(
            "cpuless",
            f"node {cpuless} has no CPUs: its memory is far for every process",
            "use it for cold memory only",
        )
    if conditions.demotion and faster:
        yield Warning(
            "demotion",
            f"demotion is on: when node {faster} fills up, cold pages go down to slower memory again by themselves",
            f"echo 0 > {DEMOTION} while you place by hand",
        )
    if slower - cpuless:
        yield Warning(
            "tier",
            f"node {slower} is slower memory (a lower tier) than where the pages come from",
            "use it for cold memory only",
        )


def _tiers_crossed(plan: Plan, conditions: Conditions) -> tuple[NodeSet, NodeSet]:
    """(targets that are slower than where pages come from, targets that are faster)."""
    tiers = conditions.tiers
    known = [move for move in plan.moves if move.source in tiers and move.target in tiers]
    return (
        NodeSet(move.target for move in known if tiers[move.target] > tiers[move.source]),
        NodeSet(move.target for move in known if tiers[move.target] < tiers[move.source]),
    )


def _of_the_method(plan: Plan, conditions: Conditions) -> Iterator[Warning]:
    if not plan.bytes:
        return
    if plan.calls == "migrate_pages" and plan.holds_lock:
        yield Warning(
            "stall",
            f"migrate_pages holds the process's memory map for the whole call: about {plan.stall:.1f} s",
            "the method move_pages moves in small batches",
        )
    if plan.fallback:
        why = (
            "pages that NUMA balancing hides from move_pages"
            if plan.fallback == "balancing"
            else "pages for nodes outside the cpuset, where move_pages may not go,"
        )
        held = f", which holds the process's memory map for up to {plan.whole_call:.1f} s" if plan.holds_lock else ""
        shared = "; it moves what other processes map too" if conditions.privileged else ""
        yield Warning("fallback", f"{why} are moved by migrate_pages{held}{shared}", "--method move_pages leaves them")


def _confined(one: Confinement) -> Warning:
    """Who else is confined, and what the kernel does with them."""
    names = _named([(other.subject.process.pid, other.subject.process.comm) for other in one.others])
    also = f"; processes that were not named are in it too{names}" if names else ""
    hidden = sum(not other.subject.readable for other in one.others)
    unread = f"; of {hidden} of them it cannot be read how much that is" if hidden else ""
    return Warning(
        "confined",
        f"cpuset {printable(one.path, 80)} will have the nodes {one.final or 'of the cpuset above'} instead of "
        f"{one.written or one.mems}: what its processes "
        f"have elsewhere moves there, shared pages too{also}{unread}",
        "numatui undo takes both back",
    )


def _of_a_process(
    plan: Plan,
    process_plan: ProcessPlan,
    subject: Subject,
    topology: Topology,
    conditions: Conditions,
    sharers: Sharers,
) -> Iterator[Warning]:
    pid = process_plan.process.pid
    confined = bool(plan.confinements)
    affected = [vma for vma in subject.placement.vmas if any(vma.pages.get(step.source) for step in process_plan.steps)]
    contrary = sorted({vma.policy for vma in affected if not policy_agrees(vma.policy, plan.targets)})
    if contrary and not confined:
        yield Warning(
            "policy",
            f"{pid}: the policy {', '.join(contrary[:3])} will put new pages elsewhere than node {plan.targets}",
            "only the process itself, or its cpuset, can change its policy",
        )
    spread = sorted({vma.policy for vma in affected if _gathered(vma.policy, plan.targets)})
    if spread:
        yield Warning(
            "spread",
            f"{pid}: memory that is spread on purpose ({', '.join(spread[:3])}) comes together on node {plan.targets}",
            f"leave it where it is, or name all its nodes as targets, as with --to {_nodes_of(spread[0])}",
        )
    allowed = process_plan.process.mems_allowed
    ends = NodeSet(move.target for move in process_plan.moves)
    if allowed is not None and not ends.issubset(allowed) and not confined:
        yield Warning(
            "cpuset",
            f"{pid}: its cpuset allows node {allowed} only; new pages will not go to {ends - allowed}",
            "--cpuset changes the mems of its cpuset as well",
        )
    shared = process_plan.shared
    if shared and (plan.move_all or (plan.calls == "migrate_pages" and conditions.privileged)):
        who = _named(sharers.get(pid, ()))
        yield Warning(
            "shared-moves",
            f"{pid}: up to {_mib(shared)} MiB are also mapped by other processes{who} and move for them too",
            "leave out --all, or use the method move_pages",
        )
    elif shared and not confined:
        yield Warning(
            "shared",
            f"{pid}: up to {_mib(shared)} MiB are also mapped by other processes and stay",
            "--all moves them for everybody",
        )
    if process_plan.process.swap:
        yield Warning(
            "swap",
            f"{pid}: {_mib(process_plan.process.swap)} MiB are in swap: they come back on the node where they are "
            "touched",
            "nothing to do unless that is far away",
        )
    here = process_plan.runs_on
    if here is not None and process_plan.moves:
        old = _mean_distance(process_plan.before, here, topology)
        new = _mean_distance(process_plan.after, here, topology)
        if new > old:
            yield Warning(
                "farther",
                f"{pid}: it runs on node {here}, and its memory would be farther from there than now",
                "move it to where it runs, or move the task too",
            )


def _named(others: Sequence[tuple[int, str]]) -> str:
    """` (17 worker, 18 worker and 3 more)`, or nothing."""
    if not others:
        return ""
    names = ", ".join(f"{pid} {printable(name, 20)}" for pid, name in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f" ({names}{more})"


def policy_agrees(policy: str, targets: NodeSet) -> bool:
    """Whether this policy (numa_maps text) allows new pages on `targets`. True if it names no nodes."""
    nodes = _nodes_of(policy)
    return nodes is None or bool(nodes & targets)


def interleaved(policy: str) -> bool:
    """`interleave` and `weighted interleave`: spread on purpose."""
    return "interleave" in policy


def _gathered(policy: str, targets: NodeSet) -> bool:
    """Whether memory of an interleaved policy comes to fewer nodes than it is meant for."""
    nodes = _nodes_of(policy)
    return interleaved(policy) and nodes is not None and bool(nodes & targets) and not nodes.issubset(targets)


def _nodes_of(policy: str) -> NodeSet | None:
    """The nodes that a policy (numa_maps text) names; None if it names none."""
    name, _, nodes = policy.rpartition(":")
    try:
        return NodeSet.parse_list(nodes) if name else None
    except UsageError:
        return None


def _mib(amount: int) -> int:
    return max(1, amount >> 20)


def _mean_distance(by_node: dict[int, int], here: int, topology: Topology) -> float:
    total = sum(by_node.values())
    return sum(topology.distance(here, node) * amount for node, amount in by_node.items()) / total if total else 0.0
