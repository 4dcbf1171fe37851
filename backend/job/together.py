"""Several processes in one job, each with sets of nodes of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backend.errors import NotFound, NumatuiError
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.plan.plan import Method, Plan, Stretches
from backend.plan.planner import having_room, merged
from backend.process.process import Process
from backend.selection.selection import Selection


@dataclass(frozen=True, slots=True)
class Together:
    """`plan`: of all that can be moved; None if nothing can. `left_out`: why others are not in it, a line each."""

    plan: Plan | None
    left_out: tuple[str, ...] = ()


def plan_together(kernel: Kernel, plans: Iterable[Callable[[], Plan]]) -> Together:
    """Makes the plans now, the most wanted first, and puts those that have room together into one. Those that move
    nothing, or cannot be made, are left out."""
    made: list[Plan] = []
    left_out: list[str] = []
    for make in plans:
        try:
            one = make()
        except NumatuiError as exc:
            left_out.append(str(exc))
            continue
        if one.bytes:
            made.append(one)
    topology = read_topology(kernel)
    taken, left = having_room(made, topology, kernel.page_size)
    for one in left:
        pids = ", ".join(str(part.process.pid) for part in one.processes)
        left_out.append(f"{pids}: no room on node {one.targets} beside the others; move it later, or elsewhere")
    return Together(merged(taken, topology, kernel.page_size) if taken else None, tuple(left_out))


def plan_one(
    kernel: Kernel,
    process: Process,
    sources: NodeSet,
    targets: NodeSet,
    method: Method = "auto",
    max_rate: int = 0,
    only: Stretches | None = None,
) -> Plan:
    """The plan of one process. `only`: of these stretches of its memory. Raises NotFound also if another has its pid;
    what `plan` raises."""
    selection = Selection((process.pid,))
    parts = None if only is None else {process.pid: only}
    request = MoveRequest(selection, str(sources), str(targets), method=method, max_rate=max_rate, only=parts)
    made = plan(kernel, request)
    if made.processes[0].process.identity != process.identity:
        raise NotFound(
            f"process {process.pid} has ended and another has its number now",
            "nothing was done to it: look at numatui ps",
        )
    return made
