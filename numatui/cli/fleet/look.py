"""`numatui fleet nodes | ps | doctor | jobs | advise | watch-status`: one table of what many hosts say. With --json,
each host's own document."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from backend.fleet.hosts import folded
from backend.fleet.reach import Answer
from backend.kernel import Kernel
from backend.placement.survey import ProcessRow
from numatui.cli.fleet.chosen import chosen, end
from numatui.cli.printing import output
from numatui.cli.selecting import Patterns, SelectOptions
from numatui.format import parse_duration, parse_size

Document = dict[str, Any]
_MOST_NODES = 64
"""Columns of a table."""


def nodes(context: typer.Context, layout: output.Layout, json: output.Json = False, csv: output.Csv = False) -> None:
    """List hosts with the memory of their nodes: how much, and how much of it is free. Those with the same stand once.

    Example: numatui fleet --hosts 'db[1-3]' nodes
    """
    answers = chosen(context).ask(_nodes)
    if _documents(answers, "nodes", json):
        return
    if csv:
        _csv(_rows(answers, "nodes"), ["id", "cpus", "total", "free", "file", "anon"])
    else:
        _print_nodes(answers)
    end(answers)


def _nodes(kernel: Kernel) -> Document:
    from backend.machine.topology import read_topology
    from numatui.cli.look.nodes import document

    topology = read_topology(kernel)
    return document(kernel, topology, topology.nodes)


def _print_nodes(answers: Iterable[Answer[Document]]) -> None:
    rows = _folded((one.host, _node_cells(one.value["nodes"])) for one in answers if one.value is not None)
    if rows:
        output.print_table(["HOSTS", ">NODES", ">TOTAL", ">FREE", "FREE BY NODE"], rows, flexible=4)


def _node_cells(nodes: list[Document]) -> tuple[str, ...]:
    total, free = sum(node["total"] for node in nodes), sum(node["free"] for node in nodes)
    by_node = " ".join(f"{node['id']}:{output.size(node['free'])}" for node in nodes)
    return (str(len(nodes)), output.size(total), output.size(free), by_node)


def ps(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pattern: Patterns = None,
    far: Annotated[
        str, typer.Option(metavar="SIZE", help="Only processes with at least this much memory far from where they run.")
    ] = "0",
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List processes of many hosts, those with the most memory far from where they run first.

    Example: numatui fleet --hosts @db ps --far 1G postgres
    """
    selection, least = selecting.of_patterns(pattern), parse_size(far)

    def ask(kernel: Kernel) -> Document:
        from backend.machine.topology import read_topology
        from backend.placement.survey import Surveyor
        from backend.selection.selection import matcher_of_tree
        from numatui.cli.look.ps import document

        surveyor = Surveyor(kernel, read_topology(kernel))
        rows = [row for row in surveyor.read(matcher_of_tree(kernel, selection)) if _far(row) >= least]
        rows.sort(key=_far, reverse=True)
        return document(kernel, list(surveyor.topology.memory_ids | surveyor.topology.ids), rows)

    answers = chosen(context).ask(ask)
    if _documents(answers, "ps", json):
        return
    rows = output.cut(sorted(_rows(answers, "processes"), key=lambda row: -_far_of(row[1])))
    if csv:
        _csv(rows, ["pid", "user", "command", "rss", "local", "node"])
    elif rows:
        there = {one.host: (one.value or {}).get("nodes", []) for one in answers}
        count = min(_MOST_NODES, max((max(nodes, default=0) for nodes in there.values()), default=0) + 1)
        output.print_table(
            ["HOST", ">PID", "USER", "COMMAND", ">CPU@NODE", ">RSS", ">LOCAL", *[f">N{node}" for node in range(count)]],
            [
                [
                    host, str(row["pid"]), row["user"], output.short(row["command"] or row["comm"], 60),
                    f"{row['cpu']}@{'?' if row['node'] is None else row['node']}", output.size(row["rss"]),
                    output.percent(row["local"]),
                    *[_on(row["nodes"], node) if node in there[host] else "" for node in range(count)],
                ]
                for host, row in rows
            ],
            flexible=3,
        )  # fmt: skip
    end(answers)


def _on(nodes: dict[str, int] | None, node: int) -> str:
    return "?" if nodes is None else output.size(nodes.get(str(node), 0))


def _far(row: ProcessRow) -> int:
    return row.far or 0


def _far_of(document: Document) -> int:
    return 0 if document["local"] is None else int((1 - document["local"]) * document["rss"])


def doctor(
    context: typer.Context,
    layout: output.Layout,
    everything: Annotated[bool, typer.Option("--all", help="Also what is as it should be.")] = False,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Check many hosts. What several of them say stands once, with their names.

    Example: numatui fleet --hosts 'web[1-40]' doctor
    """
    from backend.doctor import examine
    from numatui.cli.look.doctor import document

    answers = chosen(context).ask(lambda kernel: document(kernel, examine(kernel)))
    if _documents(answers, "doctor", json):
        return
    same: dict[tuple[str, str, str, str], list[str]] = {}
    for host, check in _rows(answers, "checks"):
        if everything or check["state"] != "ok":
            same.setdefault((check["state"], check["name"], check["text"], check["fix"]), []).append(host)
    order = {"problem": 0, "note": 1, "ok": 2}
    found = output.cut(sorted(same.items(), key=lambda item: (order.get(item[0][0], 3), -len(item[1]), item[0][1])))
    rows = [[state, name, folded(hosts), text, fix] for (state, name, text, fix), hosts in found]
    if csv:
        output.print_csv(["state", "name", "hosts", "text", "fix"], rows)
    elif rows:
        output.print_table(
            ["", "CHECK", "HOSTS", "MEANING"],
            [[*row[:3], "; ".join(filter(None, row[3:]))] for row in rows],
        )
    elif any(one.value is not None for one in answers):
        print("nothing to fix")
    end(answers)


def jobs(context: typer.Context, layout: output.Layout, json: output.Json = False, csv: output.Csv = False) -> None:
    """List migrations of many hosts, the newest first.

    Example: numatui fleet --hosts @db jobs
    """
    from backend.journal.past_jobs import own_jobs
    from numatui.cli.look.jobs import document

    answers = chosen(context).ask(lambda kernel: document(*own_jobs(kernel.files)))
    if _documents(answers, "jobs", json):
        return
    rows = output.cut(sorted(_rows(answers, "jobs"), key=lambda row: -row[1]["at"]))
    if csv:
        _csv(rows, ["job", "at", "pid", "command", "moved", "state"])
    elif rows:
        output.print_table(
            ["HOST", ">JOB", "WHEN", ">PID", "COMMAND", ">MOVED", "STATE"],
            [
                [
                    host, job["job"], time.strftime("%Y-%m-%d %H:%M", time.localtime(job["at"])), str(job["pid"]),
                    output.short(job["command"], 60), output.size(job["moved"]), job["state"],
                ]
                for host, job in rows
            ],
            flexible=4,
        )  # fmt: skip
    elif any(one.value is not None for one in answers):
        print("no jobs yet")
    end(answers)


def advise(
    context: typer.Context,
    selecting: SelectOptions,
    layout: output.Layout,
    pattern: Patterns = None,
    observe: Annotated[str, typer.Option(help="How long to watch them first.")] = "5s",
    far: Annotated[
        str, typer.Option(metavar="SIZE", help="Only processes with at least this much memory far from where they run.")
    ] = "4M",
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Watch processes of many hosts for a while, then say whose memory to move, where it brings most first.

    Example: numatui fleet --hosts @db advise --observe 10s
    """
    from backend.advice.gathering import Adviser, limits_for, watch
    from backend.selection.selection import matcher_of_tree
    from numatui.cli.printing.advice_output import whole_document

    seconds, selection = parse_duration(observe) / 1e9, selecting.of_patterns(pattern)
    limits = limits_for(seconds, parse_size(far))

    def ask(kernel: Kernel) -> Document:
        seen = watch(kernel, seconds, matcher_of_tree(kernel, selection))
        found = Adviser(kernel, limits).advise(seen.observations, seen.topology)
        told = [one for one in found if one.proposal is not None]
        return whole_document(kernel, seen, told, len(found) - len(told))

    answers = chosen(context).ask(ask)
    if _documents(answers, "advise", json):
        return
    rows = output.cut(sorted(_rows(answers, "processes"), key=lambda row: -row[1]["far"]))
    if csv:
        output.print_csv(
            ["host", "pid", "user", "command", "from", "to", "bytes", "ratio", "confidence"],
            [
                [
                    host, row["pid"], row["user"], row["command"], _set(row["advice"]["from"]),
                    _set(row["advice"]["to"]), row["advice"]["bytes"], row["advice"]["gain"]["ratio"],
                    row["advice"]["confidence"],
                ]
                for host, row in rows
            ],
        )  # fmt: skip
    elif rows:
        output.print_table(
            ["HOST", ">PID", "COMMAND", "MOVE", ">SIZE", ">GAIN", "SURE"],
            [
                [
                    host, str(row["pid"]), output.short(row["command"] or row["comm"], 60),
                    f"{_set(row['advice']['from'])}→{_set(row['advice']['to'])}", output.size(row["advice"]["bytes"]),
                    f"{row['advice']['gain']['ratio']:.2f}x", row["advice"]["confidence"],
                ]
                for host, row in rows
            ],
            flexible=2,
        )  # fmt: skip
    elif any(one.value is not None for one in answers):
        print("nothing is worth moving")
    end(answers)


def watch_status(
    context: typer.Context, layout: output.Layout, json: output.Json = False, csv: output.Csv = False
) -> None:
    """Say on which hosts an automatic mover runs, and what it has done.

    Example: numatui fleet --hosts @db watch-status
    """
    from backend.mover.status import document
    from backend.mover.status import watch_status as read
    from numatui.cli.printing.mover_status import state_of

    answers = chosen(context).ask(lambda kernel: document(read(kernel)))
    if _documents(answers, "watch-status", json):
        return
    found = [(one.host, one.value) for one in answers if one.value is not None]
    if csv:
        names = ["running", "since", "policy", "dry", "moves", "moved", "stopped", "at", "event", "text"]
        _csv(output.cut(found), names)
    elif found:
        rows = _folded((host, _watch_cells(state_of(one), one)) for host, one in found)
        output.print_table(["HOSTS", "STATE", "POLICY", ">MOVES", ">MOVED", "LAST"], rows, flexible=5)
    end(answers)


def _watch_cells(state: str, one: Document) -> tuple[str, ...]:
    last = one["stopped"] or " ".join(filter(None, (one["event"], one["text"])))
    return (state, one["policy"] or "", str(one["moves"]), output.size(one["moved"]), output.short(last, 80))


def _set(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def _folded(rows: Iterable[tuple[str, tuple[str, ...]]]) -> list[list[str]]:
    """Hosts with the same cells in one row, under their names."""
    same: dict[tuple[str, ...], list[str]] = {}
    for host, cells in rows:
        same.setdefault(cells, []).append(host)
    return [[folded(hosts), *cells] for cells, hosts in output.cut([*same.items()])]


def _rows(answers: Iterable[Answer[Document]], key: str) -> list[tuple[str, Document]]:
    """The items of a list of every document, with their host."""
    return [(one.host, item) for one in answers for item in (one.value or {}).get(key, [])]


def _csv(rows: Iterable[tuple[str, Document]], names: list[str]) -> None:
    output.print_csv(["host", *names], [[host, *[_cell(row[name]) for name in names]] for host, row in rows])


def _cell(value: Any) -> Any:
    return "" if value is None else _set(value) if isinstance(value, list) else value


def _documents(answers: list[Answer[Document]], command: str, json: bool) -> bool:
    """Prints them as one document, if that is wanted, and exits as `end` does."""
    if not json:
        return False
    output.print_json(
        "fleet",
        {
            "command": command,
            "job": None,
            "hosts": [
                {
                    "host": one.host, "seconds": round(one.seconds, 3), "sent": one.sent, "received": one.received,
                    "error": None if one.error is None else output.exact(str(one.error)),
                    "document": one.value and {"schema": f"numatui/{command}/1", **one.value},
                }
                for one in answers
            ],
        },
    )  # fmt: skip
    end(answers)
    return True
