"""Prints advice: documents, CSV and tables."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from backend.advice.advice import Advice, Proposal
from backend.advice.gathering import Watch
from backend.advice.reasons import summary_of
from backend.kernel import Kernel
from numatui.cli.printing import output
from numatui.cli.printing.plan_output import machine_document
from numatui.format import BASIS
from numatui.shell import advised_command

_WIDE = 150
"""Columns; on a terminal this wide, the command is beside its advice, else below it."""
GAIN = {
    "distance": "by the firmware's distances",
    "latency": "by the firmware's latencies (HMAT)",
}
"""Basis of a gain, in words."""


def whole_document(kernel: Kernel, seen: Watch, told: Iterable[Advice], declined: int) -> dict[str, Any]:
    """Schema numatui/advise/1. `declined`: processes without advice."""
    return {
        "source": kernel.source,
        "host": output.exact(kernel.name),
        "observed_seconds": seen.seconds,
        "readings": seen.readings,
        "machine": machine_document(kernel),
        "nodes": list(seen.topology.memory_ids | seen.topology.ids),
        "processes": [document(kernel, one) for one in told],
        "not_advised": declined,
    }


def document(kernel: Kernel, advice: Advice) -> dict[str, Any]:
    """One process as scripts see it (schema numatui/advise/1)."""
    process, one = advice.process, advice.proposal
    return {
        "pid": process.pid,
        "start_time": process.identity.start_time,
        "uid": process.uid,
        "user": output.exact(process.user),
        "comm": output.exact(process.comm),
        "command": output.exact(process.command),
        "runs_on": {str(node): round(share, 4) for node, share in advice.places.items()},
        "cpus": None if advice.cpus is None else round(advice.cpus, 3),
        "nodes": None if advice.by_node is None else {str(node): amount for node, amount in advice.by_node.items()},
        "far": advice.far,
        "advice": None if one is None else _proposal(kernel, advice, one),
        "reasons": [{"code": reason.code, "text": output.exact(reason.text)} for reason in advice.reasons],
    }  # fmt: skip


def _proposal(kernel: Kernel, advice: Advice, one: Proposal) -> dict[str, Any]:
    return {
        "from": list(one.sources),
        "to": list(one.targets),
        "moves": [{"from": move.source, "to": move.target, "bytes": move.bytes} for move in one.moves],
        "bytes": one.bytes,
        "gain": {
            "ratio": round(one.ratio, 4), "before": round(one.before, 3), "after": round(one.after, 3),
            "basis": one.basis, "text": summary_of(advice),
        },
        "cost": {
            "bytes": sum(move.bytes for move in one.moves), "seconds": round(one.seconds, 4),
            "rate_basis": one.rate_basis, "stall_seconds": round(one.stall, 4),
        },
        "payback_seconds": None if one.payback is None else round(one.payback, 3),
        "confidence": one.confidence,
        "doubts": [{"code": doubt.code, "text": output.exact(doubt.text)} for doubt in one.doubts],
        "heat": None if one.heat is None else {"way": one.heat.way, "used": one.heat.bytes, "steady": one.heat.steady},
        "only": None if one.heat is None else [[f"{start:x}", f"{end:x}"] for start, end in one.heat.stretches],
        "command_line": output.exact(advised_command(kernel, advice)),
    }  # fmt: skip


def print_advice_csv(kernel: Kernel, items: Sequence[Advice]) -> None:
    """One row per process. A process without a proposal has reasons instead of a move."""
    output.print_csv(
        ["pid", "user", "command", "from", "to", "bytes", "far", "ratio", "basis", "seconds", "rate_basis",
         "stall_seconds", "payback_seconds", "confidence", "reasons", "command_line"],
        [
            [one.process.pid, one.process.user, one.process.command, *_csv_move(one.proposal, one.far),
             " ".join(reason.code for reason in one.reasons), advised_command(kernel, one)]
            for one in items
        ],
    )  # fmt: skip


def _csv_move(one: Proposal | None, far: int) -> list[object]:
    if one is None:
        return ["", "", "", far, *[""] * 7]
    return [
        str(one.sources), str(one.targets), one.bytes, far, round(one.ratio, 4), one.basis, round(one.seconds, 4),
        one.rate_basis, round(one.stall, 4), "" if one.payback is None else round(one.payback, 3), one.confidence,
    ]  # fmt: skip


def print_advice(kernel: Kernel, items: Sequence[Advice], with_reasons: bool) -> None:
    """For people: proposals, each with its command. `with_reasons`: also why the other processes have none."""
    advised = [(one, one.proposal) for one in items if one.proposal is not None]
    declined = [one for one in items if one.proposal is None]
    if advised:
        columns = [">PID", "USER", "COMMAND", "MOVE", ">SIZE", ">GAIN", ">TIME", ">PAYS IN", "SURE"]
        rows = [_row(advice, one) for advice, one in advised]
        commands = [advised_command(kernel, advice) for advice, _ in advised]
        if sys.stdout.isatty() and shutil.get_terminal_size().columns >= _WIDE:
            rows = [[*row, command] for row, command in zip(rows, commands, strict=True)]
            output.print_table([*columns, "DO IT WITH"], rows, flexible=2)
        else:
            output.print_table(columns, rows, flexible=2, below=commands)
        first = advised[0][1]
        alike = any(one.heat is None for _, one in advised)
        output.note(
            f"GAIN: how many times cheaper an average access gets, {GAIN[first.basis]}"
            + (", if a process uses all its memory equally" if alike else ", of the memory that it uses")
        )
        bases = list(dict.fromkeys(BASIS[one.rate_basis] for _, one in advised))
        output.note(
            f"TIME: for the move, at a speed {' or '.join(bases)}; the process waits up to "
            f"{output.duration(max(one.stall for _, one in advised))} at a time"
        )
    for advice, one in advised:
        for doubt in one.doubts:
            output.note(f"{advice.process.pid}: {doubt.text}")
    if with_reasons and declined:
        if advised:
            print()
        output.print_table(
            [">PID", "USER", "COMMAND", ">FAR", "WHY NOT"],
            [
                [
                    str(one.process.pid),
                    one.process.user,
                    output.short(one.process.command, 32),
                    output.size(one.far),
                    "; ".join(f"{reason.code}: {reason.text}" for reason in one.reasons),
                ]
                for one in declined
            ],
            aside=bool(advised),
        )
    elif declined:
        counted = Counter(one.reasons[0].code for one in declined if one.reasons)
        told = ", ".join(f"{count} {code}" for code, count in counted.most_common())
        nothing = "" if advised else "nothing to move; "
        output.note(f"{nothing}not advised: {told} (--all says why)")


def _row(advice: Advice, one: Proposal) -> list[str]:
    arrows = " ".join(f"{move.source}→{move.target}" for move in one.rule_moves)
    return [
        str(advice.process.pid),
        advice.process.user,
        output.short(advice.process.command, 40),
        arrows,
        output.size(one.bytes),
        f"{one.ratio:.2f}×",
        output.duration(one.seconds),
        "?" if one.payback is None else output.duration(one.payback),
        one.confidence,
    ]
