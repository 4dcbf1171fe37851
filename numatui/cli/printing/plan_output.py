"""A plan, for people and for scripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.plan.plan import Plan, PlannedMove, ProcessPlan
from backend.plan.remap import landings
from numatui.cli.printing import hints, output
from numatui.format import BASIS

if TYPE_CHECKING:
    from backend.job.outcome import Outcome


def print_plan(plan: Plan) -> None:
    """For people: the mapping, what each process moves, room, time, warnings."""
    arrows = (
        ", ".join(f"{move.source}→{move.target}" for move in plan.moves) or "nothing: every source stays where it is"
    )
    print(f"nodes {plan.sources} to {plan.targets}: {arrows}")
    rows = [
        [
            str(one.process.pid),
            output.short(one.process.command, 60),
            f"{move.source}→{move.target}",
            str(move.pages),
            output.size(move.bytes),
        ]
        for one, move in output.cut(_moves(plan))
    ]
    if rows:
        output.print_table([">PID", "COMMAND", "MOVE", ">PAGES", ">SIZE"], rows, flexible=1)
    for room in plan.room:
        if room.incoming:
            state = "enough room" if room.enough else "NOT enough room"
            state = "whether it fits is not known" if room.free is None else state
            print(f"node {room.node}: {output.size(room.free)} free, {output.size(room.incoming)} incoming: {state}")
        for size, count in room.huge_pages.items():
            print(f"node {room.node}: {count} pages of its pool of {output.size(size)} pages incoming")
    if plan.bytes:
        basis = BASIS[plan.rate_basis]
        stall = output.duration(plan.stall)
        print(
            f"about {output.duration(plan.seconds)} ({output.size(plan.rate)}/s, {basis}); a process waits up to "
            f"{stall} at a time"
        )
    print_warnings(plan)


_ABOUT = re.compile(r"(\d+): (.*)", re.DOTALL)
"""A warning about one process."""
_NAMED = 8
"""Processes named in such a line."""


def print_warnings(plan: Plan) -> None:
    """A line each; one for all processes of which the same is said."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for warning in plan.warnings:
        about = _ABOUT.fullmatch(warning.text)
        pids = alike.setdefault((warning.code, about[2] if about else warning.text, warning.fix), [])
        pids += [about[1]] if about else []
    for (code, text, fix), pids in alike.items():
        named = ", ".join(pids[:_NAMED]) + (f" and {len(pids) - _NAMED} more" if len(pids) > _NAMED else "")
        output.note(": ".join(filter(None, (code, named, text))) + (f"; {hints.there(fix)}" if fix else ""))


def _moves(plan: Plan) -> list[tuple[ProcessPlan, PlannedMove]]:
    return [(one, move) for one in plan.processes for move in one.moves]


def print_plan_csv(plan: Plan) -> None:
    """One row for each process and pair of nodes."""
    output.print_csv(
        ["pid", "from", "to", "pages", "bytes"],
        [[one.process.pid, move.source, move.target, move.pages, move.bytes] for one, move in output.cut(_moves(plan))],
    )


def document(kernel: Kernel, plan: Plan) -> dict[str, Any]:
    """The plan as scripts see it (schema numatui/plan/1)."""
    ids = NodeSet([*plan.sources, *plan.targets])
    return {
        "from": list(plan.sources),
        "to": list(plan.targets),
        "rule": plan.rule,
        "method": plan.method,
        "moves": [{"from": move.source, "to": move.target} for move in plan.moves],
        "lands_on": {str(node): end for node, end in landings(plan.moves, ids).items()},
        "bytes": plan.bytes,
        "pages": plan.pages,
        "seconds": round(plan.seconds, 3),
        "rate_basis": plan.rate_basis,
        "stall_seconds": round(plan.stall, 4),
        "processes": [
            {
                "pid": one.process.pid,
                "start_time": one.process.identity.start_time,
                "command": output.exact(one.process.command),
                "node": one.runs_on,
                "confined": one.confined,
                "moves": [{"from": m.source, "to": m.target, "pages": m.pages, "bytes": m.bytes} for m in one.moves],
                "before": {str(node): amount for node, amount in one.before.items()},
                "after": {str(node): amount for node, amount in one.after.items()},
                "only": None if one.only is None else [[f"{start:x}", f"{end:x}"] for start, end in one.only],
            }
            for one in plan.processes
        ],
        "room": [
            {
                "node": room.node,
                "free": room.free,
                "incoming": room.incoming,
                "outgoing": room.outgoing,
                "after": room.after,
                "reserve": room.reserve,
                "enough": room.enough,
                "huge_pages": {str(size): count for size, count in room.huge_pages.items()},
            }
            for room in plan.room
        ],
        "calls": plan.calls,
        "fallback": plan.fallback or None,
        "stays": dict(plan.stays),
        "max_rate": plan.max_rate,
        "move_all": plan.move_all,
        "within": list(plan.within) if plan.within is not None else None,
        "machine": machine_document(kernel),
        "cpusets": cpusets_document(plan),
        "warnings": [
            {"code": warning.code, "text": output.exact(warning.text), "fix": warning.fix} for warning in plan.warnings
        ],
    }


def machine_document(kernel: Kernel) -> dict[str, Any]:
    """Which machine a plan or advice was made on: `apply` compares it."""
    return {
        "host": output.exact(kernel.name), "boot": boot_id(kernel), "nodes": list(read_topology(kernel).ids),
        "page_size": kernel.page_size,
    }  # fmt: skip


def cpusets_document(plan: Plan, outcome: Outcome | None = None) -> list[dict[str, Any]]:
    """The cpusets that change, as scripts see them; `now` as read afterwards."""
    now = {one.path: list(one.now) for one in outcome.cpusets} if outcome is not None else {}
    return [
        {"path": output.exact(one.path), "before": list(one.mems), "after": list(one.targets),
         "others": [other.subject.process.pid for other in one.others], "now": now.get(one.path)}
        for one in plan.confinements
    ]  # fmt: skip
