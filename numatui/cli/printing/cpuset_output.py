"""How cpusets, changes to them and their results are printed: tables, documents, CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.cgroup.cgroups import Hierarchy
from backend.cgroup.cpuset_tree import CpusetInfo
from backend.cpuset.change import Change, ChangeResult, Predicted, Result
from backend.kernel import Kernel
from backend.nodeset import NodeSet
from numatui.cli.printing import output


@dataclass(frozen=True, slots=True)
class CpusetRow:
    """A cpuset with its readable name. `processes`: how many are in it, None where that cannot be read."""

    cpuset: CpusetInfo
    name: str
    processes: int | None


def print_list_json(kernel: Kernel, hierarchy: Hierarchy, rows: list[CpusetRow]) -> None:
    output.print_json(
        "cpuset-list",
        {
            "source": kernel.source,
            "host": output.exact(kernel.name),
            "version": hierarchy.version,
            "mount": output.exact(hierarchy.mount),
            "cpusets": [
                {
                    "path": output.exact(row.cpuset.path),
                    "name": output.exact(row.name),
                    "depth": row.cpuset.directory.depth,
                    **_sets(row.cpuset),
                    "processes": row.processes,
                }
                for row in rows
            ],
        },
    )


def print_list_csv(rows: list[CpusetRow]) -> None:
    output.print_csv(
        ["path", "name", "mems", "effective_mems", "cpus", "effective_cpus", "processes", "memory_migrate"],
        [
            [
                one.path,
                row.name,
                str(one.mems),
                str(one.effective_mems),
                str(one.cpus),
                str(one.effective_cpus),
                "" if row.processes is None else row.processes,
                int(one.memory_migrate),
            ]
            for row in rows
            for one in [row.cpuset]
        ],
    )


def print_list(rows: list[CpusetRow], version: str, paths: bool) -> None:
    """As a tree; with `paths` as a list of whole paths."""
    v1 = version == "v1"
    columns = ["CPUSET", "MEMS", "EFFECTIVE", "CPUS", ">PROCESSES", *(["MIGRATES"] if v1 else [])]
    cells = [
        [
            one.path if paths else "  " * min(one.directory.depth, 20) + output.printable(row.name, 80),
            str(one.mems) or "-",
            str(one.effective_mems) or "none",
            str(one.effective_cpus) or "none",
            "-" if not one.own else "?" if row.processes is None else str(row.processes),
            *([("yes" if one.memory_migrate else "no") if one.own else "-"] if v1 else []),
        ]
        for row in rows
        for one in [row.cpuset]
    ]
    output.print_table(columns, cells, flexible=0)


def _sets(one: CpusetInfo) -> dict[str, Any]:
    return {
        "own": one.own,
        "mems": list(one.mems),
        "effective_mems": list(one.effective_mems),
        "cpus": list(one.cpus),
        "effective_cpus": list(one.effective_cpus),
        "memory_migrate": one.memory_migrate,
    }


def _ways(predicted: Predicted) -> str:
    """`0→2 12M, 1→3 4M`."""
    return ", ".join(f"{a}→{b} {output.size(amount)}" for (a, b), amount in predicted.ways.items())


def print_change(change: Change) -> None:
    where = output.printable(change.path, 120)
    if change.mems is None:
        print(f"into {where} (nodes {change.effective}):")
    else:
        print(
            f"mems of {where}: {change.mems or 'as above'}"
            + (f", in effect {change.effective}" if change.effective != change.mems else "")
        )
    rows = [
        [
            str(one.process.pid), output.short(one.process.command, 60), f"{one.old}→{one.new}",
            "?" if one.before is None else _ways(one) or "nothing moves",
        ]
        for one in change.processes
    ]  # fmt: skip
    if rows:
        output.print_table([">PID", "COMMAND", "NODES", "MOVES"], rows, flexible=1)
    else:
        print("no process is affected")
    for text in change.notes:
        output.note(text)


def print_result(result: ChangeResult) -> None:
    for one in result.processes:
        predicted = one.predicted
        before, after = predicted.before or {}, one.after or {}
        nodes = sorted({*before, *after})
        print(f"{predicted.process.pid}: {_verdict(one)}")
        if nodes:
            unknown = ["?"] * len(nodes)
            rows = [
                [
                    "before",
                    *([output.size(before.get(n, 0)) for n in nodes] if predicted.before is not None else unknown),
                ],
                ["after", *([output.size(after.get(n, 0)) for n in nodes] if one.after is not None else unknown)],
            ]
            output.print_table(["", *[f">N{node}" for node in nodes]], rows)
    change = result.change
    print(f"{output.printable(change.path, 120)}: mems in effect: {result.effective}")
    if result.effective != change.effective:
        output.note(f"nodes {change.effective} were meant: something changed the cpusets meanwhile")


def _verdict(one: Result) -> str:
    predicted = one.predicted
    if one.error:
        return one.error
    if one.after is None or predicted.before is None:
        return "may not be looked at: run as root"
    left = sum(one.left.values())
    moved = sum(predicted.ways.values()) - left
    text = f"{output.size(moved)} moved" if moved else "nothing moved"
    return text + (
        f", {output.size(left)} left on node {NodeSet(one.left)}: busy, unmovable, or no room" if left else ""
    )


def _by_node(amounts: dict[int, int] | None) -> dict[str, int] | None:
    return None if amounts is None else {str(node): amount for node, amount in amounts.items()}


def change_document(change: Change) -> dict[str, Any]:
    return {
        "path": output.exact(change.path),
        "version": change.version,
        "mems": None if change.mems is None else list(change.mems),
        "memory_migrate": change.memory_migrate,
        "effective_mems": list(change.effective),
        "bytes": change.bytes,
        "processes": [
            {
                "pid": one.process.pid,
                "start_time": one.process.identity.start_time,
                "command": output.exact(one.process.command),
                "cpuset": output.exact(one.cpuset),
                "old_mems": list(one.old),
                "new_mems": list(one.new),
                "moves": [{"from": a, "to": b, "bytes": amount} for (a, b), amount in one.ways.items()],
                "policies": [output.exact(policy) for policy in one.policies],
                "before": _by_node(one.before),
                "after": _by_node(one.after),
            }
            for one in change.processes
        ],
        "notes": [output.exact(text) for text in change.notes],
    }


def result_document(result: ChangeResult) -> dict[str, Any]:
    return {
        "effective_mems": list(result.effective),
        "complete": result.complete,
        "processes": [
            {
                "pid": one.predicted.process.pid,
                "before": _by_node(one.predicted.before),
                "after": _by_node(one.after),
                "left": _by_node(one.left),
                "error": one.error or None,
            }
            for one in result.processes
        ],
        "errors": [str(one) for one in result.errors],
    }
