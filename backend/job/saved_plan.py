"""A plan that was saved: read as a stranger's, planned again, and compared. What has drifted is refused.

A document of `plan --json` or `advise --json` says what was to move, on which machine and of which processes. The plan
that is carried out is always a new one: made now, of the same request, and only if it says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from backend.errors import NotFound, NumatuiError, ParseError, Refused
from backend.files.fields import Fields, integer, items
from backend.files.text import printable
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.machine.kernel_info import boot_id
from backend.machine.topology import read_topology
from backend.nodeset import MAX_ID, NodeSet
from backend.plan.plan import METHODS, Plan, Stretches
from backend.plan.planner import merged
from backend.plan.remap import RULES, Move
from backend.process.process import Identity
from backend.selection.selection import Selection

LARGEST = 64 << 20
"""Bytes of a saved plan: some 50,000 processes."""
_LEAST = 1 << 20
"""Bytes: a smaller difference is no drift, whatever the tolerance."""
_LISTED = 5
_ADDRESS = re.compile(r"[0-9a-f]{1,16}")


@dataclass(frozen=True, slots=True)
class SavedPart:
    """A process of a saved plan. `moves`: bytes by move."""

    identity: Identity
    moves: dict[Move, int]


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """`requests`: one for a plan, one for each process of advice. `parts`: the processes that were asked for.
    `confined`: pids of those that shared a cpuset. `boot`, `nodes`, `page_size`: of the machine."""

    host: str
    boot: str
    nodes: NodeSet
    page_size: int
    requests: tuple[MoveRequest, ...]
    parts: tuple[SavedPart, ...]
    confined: frozenset[int] = frozenset()


def parse_plan(raw: bytes, sure: Sequence[str]) -> SavedPlan:
    """`sure`: confidences of advice that are carried out. Raises ParseError."""
    try:
        record = Fields(json.loads(raw), "plan")
        schema = record.text("schema")
        if schema == "numatui/plan/1" and "processes" in record:
            return _of_plan(record)
        if schema == "numatui/advise/1":
            return _of_advice(record, sure)
        raise ValueError(f"it is no plan of processes, but {printable(schema, 60)}")
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deeply" if isinstance(exc, RecursionError) else printable(str(exc), 120)
        raise ParseError(f"this is not a saved plan ({why})", "make one: numatui plan … --json > plan.json") from None


def planned_again(kernel: Kernel, saved: SavedPlan, tolerance: float) -> Plan:
    """The plan of the same requests now. `tolerance`: share of an amount by which it may differ. Raises Refused with
    what has drifted; UsageError, NotFound, NotPermitted, NotSupported."""
    differences = _of_the_machine(kernel, saved)
    plans: list[Plan] = []
    for request in saved.requests if not differences else ():
        try:
            plans.append(plan(kernel, request))
        except NotFound as exc:
            differences.append(exc.what)
    now = {part.process.pid: part for one in plans for part in one.processes}
    for part in saved.parts if plans else ():
        found = now.get(part.identity.pid)
        if found is None:
            continue
        if found.process.identity != part.identity:
            differences.append(f"process {part.identity.pid} has ended and another has its number now")
            continue
        moves = {Move(one.source, one.target): one.bytes for one in found.moves}
        differences += [
            f"process {part.identity.pid}: {_mib(moves.get(move, 0))} would go from {move.source} to {move.target}, "
            f"planned were {_mib(part.moves.get(move, 0))}"
            for move in sorted({*moves, *part.moves}, key=lambda one: (one.source, one.target))
            if _drifted(part.moves.get(move, 0), moves.get(move, 0), tolerance)
        ]
    others = {part.process.pid for one in plans for part in one.processes if part.confined} - saved.confined
    differences += [f"process {pid} is in the cpuset now" for pid in sorted(others)]
    if differences:
        more = f", and {len(differences) - _LISTED} more" if len(differences) > _LISTED else ""
        raise Refused(
            f"the plan does not hold any more: {'; '.join(differences[:_LISTED])}{more}",
            "plan again, or allow more with --tolerance",
        )
    if not plans:
        raise NumatuiError("the plan has nothing that is to be done", "plan again")
    return plans[0] if len(plans) == 1 else merged(plans, read_topology(kernel), kernel.page_size)


def _of_the_machine(kernel: Kernel, saved: SavedPlan) -> list[str]:
    nodes = read_topology(kernel).ids
    out: list[str] = []
    if saved.host != kernel.name:
        out.append(f"it was made on {printable(saved.host, 60)}, this is {printable(kernel.name, 60)}")
    elif saved.boot != boot_id(kernel):
        out.append("the machine was started again since")
    if saved.nodes != nodes:
        out.append(f"the nodes were {saved.nodes or 'none'} and are {nodes}")
    if saved.page_size != kernel.page_size:
        out.append(f"a page had {saved.page_size} bytes and has {kernel.page_size}")
    return out


def _drifted(planned: int, now: int, tolerance: float) -> bool:
    return abs(now - planned) > max(_LEAST, tolerance * planned)


def _mib(amount: int) -> str:
    return f"{amount / (1 << 20):.0f} MiB"


def _of_plan(record: Fields) -> SavedPlan:
    host, boot, nodes, page_size = _machine(record)
    parts: list[SavedPart] = []
    only: dict[int, Stretches] = {}
    confined: set[int] = set()
    for one in record.objects("processes"):
        if one.truth("confined"):
            confined.add(one.integer("pid"))
        else:
            parts.append(SavedPart(Identity(one.integer("pid"), one.integer("start_time")), _moves(one)))
            if one.raw.get("only") is not None:
                only[one.integer("pid")] = _stretches(one, page_size)
    if only and len(only) != len(parts):
        raise ValueError("some processes have 'only' and some have not")
    within = record.raw.get("within")
    mapping = None if within is None else f"{integer(items(within, 'plan.within', 2)[0], 'plan.within'):x}"
    request = MoveRequest(
        Selection(tuple(part.identity.pid for part in parts)), str(_nodes(record, "from")), str(_nodes(record, "to")),
        mapping=mapping, method=record.choice("method", METHODS), move_all=record.truth("move_all"),
        confine=bool(record.items("cpusets")), max_rate=record.integer("max_rate"), rule=record.choice("rule", RULES),
        only=only or None,
    )  # fmt: skip
    return SavedPlan(host, boot, nodes, page_size, (request,) if parts else (), tuple(parts), frozenset(confined))


def _stretches(record: Fields, page_size: int) -> Stretches:
    """Raises ValueError."""
    out: list[tuple[int, int]] = []
    for one in record.items("only"):
        edges = [text for text in items(one, "only", 2) if isinstance(text, str) and _ADDRESS.fullmatch(text)]
        if len(edges) != 2 or int(edges[0], 16) >= int(edges[1], 16):
            raise ValueError("'only' does not have pairs of addresses")
        start, end = int(edges[0], 16), int(edges[1], 16)
        if page_size < 1 or start % page_size or end % page_size:
            raise ValueError("'only' has addresses that are not those of pages")
        out.append((start, end))
    ordered = sorted(out)
    if any(one[1] > other[0] for one, other in pairwise(ordered)):
        raise ValueError("'only' has stretches that overlap")
    return tuple(out)


def _of_advice(record: Fields, sure: Sequence[str]) -> SavedPlan:
    host, boot, nodes, page_size = _machine(record)
    requests: list[MoveRequest] = []
    parts: list[SavedPart] = []
    for one in record.objects("processes"):
        if one.raw.get("advice") is None:
            continue
        advice = one.object("advice")
        if advice.text("confidence") not in sure:
            continue
        identity = Identity(one.integer("pid"), one.integer("start_time"))
        only = None if advice.raw.get("only") is None else {identity.pid: _stretches(advice, page_size)}
        sources, targets = str(_nodes(advice, "from")), str(_nodes(advice, "to"))
        requests.append(MoveRequest(Selection((identity.pid,)), sources, targets, only=only))
        parts.append(SavedPart(identity, _moves(advice)))
    return SavedPlan(host, boot, nodes, page_size, tuple(requests), tuple(parts))


def _machine(record: Fields) -> tuple[str, str, NodeSet, int]:
    machine = record.object("machine")
    return machine.text("host"), machine.text("boot"), _nodes(machine, "nodes"), machine.integer("page_size")


def _nodes(record: Fields, name: str) -> NodeSet:
    return NodeSet(integer(one, f"{record.name}.{name}", 0, MAX_ID) for one in record.items(name))


def _moves(record: Fields) -> dict[Move, int]:
    return {
        Move(one.integer("from", 0, MAX_ID), one.integer("to", 0, MAX_ID)): one.integer("bytes")
        for one in record.objects("moves")
    }
