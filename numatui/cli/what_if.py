"""`numatui emulate --from-live` and `--from PATH`: a copy of a machine, and what would become of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import UsageError
from backend.kernel import Kernel
from numatui.cli import output
from numatui.cli.emulate_tables import print_steps

if TYPE_CHECKING:
    from backend.emulator.copying import Copy

_BEFORE, _BETWEEN, _AFTER = 2.0, 1.0, 3.0
"""Simulated seconds until the first step, from one to the next, and after the last, in which throughput is measured."""


def kernel_to_copy(live: bool, path: str | None) -> Kernel:
    """Raises NotSupported, NotFound, ParseError."""
    if path is None or live:
        from backend.live.kernel import LiveKernel

        return LiveKernel()
    from backend.recording.kernel import RecordedKernel

    return RecordedKernel(path)


def write_copy(copy: Copy, path: Path) -> None:
    """Private, and never over something. Raises UsageError, OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another file, or remove that one first") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(copy.text)


def what_if(kernel: Kernel, tries: list[str], write: str, seed: int | None, json: bool, csv: bool) -> None:
    """Make the copy, write it if wanted, try the steps on it and tell what came of each process."""
    from backend.emulator.copying import copy_of

    copy = copy_of(kernel)
    if write:
        write_copy(copy, Path(write))
        if not tries:
            _tell(copy, kernel)
            output.note(f"numatui --demo {output.printable(write)} opens it; all commands work on it")
            return
    document = report(copy, tries, seed)
    if json:
        output.print_json("what-if", {"of": output.exact(kernel.name), **document})
    elif csv:
        output.print_csv_of(document["processes"])
    else:
        _tell(copy, kernel)
        _print(document)


def report(copy: Copy, tries: list[str], seed: int | None = None) -> dict[str, Any]:
    """The copy with the steps and without, side by side. Sizes and times as the machine itself would have them. Raises UsageError,
    ParseError."""
    import yaml

    from backend.emulator.description import parse_description
    from backend.emulator.run import run_scenario

    scenario: dict[str, Any] = yaml.safe_load(copy.text)
    steps: list[dict[str, Any]] = []
    for number, text in enumerate(tries):
        try:
            step = yaml.safe_load(text)
        except yaml.YAMLError:
            step = None
        if not isinstance(step, dict):
            raise UsageError(
                f"'{output.printable(text, 80)}' is no step",
                "write it as in a scenario: 'migrate_pages: {task: db-4242, from: 0, to: 1}'",
            )
        steps.append({"at": _BEFORE + number * _BETWEEN, **step})
    length = f"{_BEFORE + len(tries) * _BETWEEN + _AFTER}s"
    tried = parse_description(
        yaml.safe_dump({**scenario, "steps": steps, "run": length}, sort_keys=False), "copy"
    )
    still = parse_description(yaml.safe_dump({**scenario, "run": length}, sort_keys=False), "copy")
    after, before = run_scenario(tried, seed=seed), run_scenario(still, seed=seed)
    page = after["page_size"]
    return {
        "scale": copy.scale,
        "left_out": copy.left_out,
        "steps": [{**step, "seconds": (step["seconds"] or 0.0) * copy.scale} for step in after["steps"]],
        "processes": [
            {
                "pid": task["pid"],
                "name": name,
                "before": _by_node(before["tasks"][name], page * copy.scale),
                "after": _by_node(task, page * copy.scale),
                "throughput_before": before["tasks"][name]["throughput"],
                "throughput_after": task["throughput"],
            }
            for name, task in after["tasks"].items()
        ],
        "nodes": [
            {
                "id": node["id"],
                "free_before": before["nodes"][number]["free"] * page * copy.scale,
                "free_after": node["free"] * page * copy.scale,
            }
            for number, node in enumerate(after["nodes"])
        ],
    }


def _by_node(task: dict[str, Any], factor: int) -> dict[str, int]:
    out: dict[str, int] = {}
    for vma in task["vmas"]:
        for node, pages in vma["nodes"].items():
            out[node] = out.get(node, 0) + pages * factor
    return out


def _tell(copy: Copy, kernel: Kernel) -> None:
    smaller = f", {copy.scale} times smaller" if copy.scale > 1 else ""
    without = f"; {copy.left_out} too small or not readable are left out" if copy.left_out else ""
    output.note(
        f"a copy of {output.printable(kernel.name, 60)} with {copy.processes} processes{smaller}{without}"
    )


def _print(document: dict[str, Any]) -> None:
    print_steps(document["steps"])
    changed = [one for one in document["processes"] if one["before"] != one["after"] or _other(one)]
    nodes = [str(node["id"]) for node in document["nodes"]]
    if not changed:
        print("no process would be any different")
    else:
        output.print_table(
            ["PROCESS", *[f">N{node}" for node in nodes], ">THROUGHPUT"],
            [
                [one["name"], *[_change(one, node) for node in nodes], _ratio(one)]
                for one in sorted(changed, key=lambda one: -sum(one["after"].values()))
            ],
        )
    output.print_table(
        ["NODE", ">FREE NOW", ">THEN"],
        [
            [str(node["id"]), output.size(node["free_before"]), output.size(node["free_after"])]
            for node in document["nodes"]
        ],
    )


def _other(one: dict[str, Any]) -> bool:
    before, after = one["throughput_before"], one["throughput_after"]
    return abs(after - before) > 0.01 * max(before, after)


def _change(one: dict[str, Any], node: str) -> str:
    before, after = one["before"].get(node, 0), one["after"].get(node, 0)
    return output.size(after) if before == after else f"{output.size(before)} → {output.size(after)}"


def _ratio(one: dict[str, Any]) -> str:
    before, after = one["throughput_before"], one["throughput_after"]
    return f"{after / before:.2f}x" if before else "-"
