"""`numatui emulate --from-live` and `--from PATH`: a copy of a machine, and the effect of steps on it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import ParseError, UsageError
from backend.files.new_file import open_new
from backend.files.shell_word import path_word
from backend.kernel import Kernel
from numatui.cli.printing import output
from numatui.cli.printing.emulate_tables import print_steps
from numatui.cli.source import KernelChoice, open_told

if TYPE_CHECKING:
    from backend.recording.as_scenario import Copy

_FORM = "write it as in a scenario: 'migrate_pages: {task: PID, from: 0, to: 1}' or 'offline: {node: 1}'"
_BEFORE, _BETWEEN, _AFTER = 2.0, 1.0, 3.0
"""Simulated seconds before the first step, between two steps, and after the last one."""


def kernel_to_copy(live: bool, path: str | None, at: str = "") -> Kernel:
    """Raises NotSupported, NotFound, ParseError, UsageError."""
    if path is not None and not live:
        return open_told(KernelChoice("replay", path, at))
    if at:
        raise UsageError("--at is a place in a recording", "give --from PATH too")
    return KernelChoice("live").open()


def write_copy(copy: Copy, path: Path) -> None:
    """Raises what `open_new` raises."""
    with os.fdopen(open_new(path), "w", encoding="utf-8") as file:
        file.write(copy.text)


def what_if(kernel: Kernel, tries: list[str], write: str, seed: int | None, json: bool, csv: bool) -> None:
    """Make the copy, write it if asked, run the steps on it and print the effect on each process."""
    from backend.recording.as_scenario import copy_of

    copy = copy_of(kernel)
    if write:
        write_copy(with_steps(copy, tries) if tries else copy, Path(write))
        if not tries:
            _tell(copy, kernel)
            output.note(f"numatui --demo {path_word(str(write))} opens it; all commands work on it")
            return
    document = report(copy, tries, seed)
    if json:
        output.print_json("what-if", {"of": output.exact(kernel.name), **document})
    elif csv:
        _csv(document)
    else:
        _tell(copy, kernel)
        _print(document)


def _csv(document: dict[str, Any]) -> None:
    """The columns are the same for every result."""
    ids = [str(node["id"]) for node in document["nodes"]]
    output.print_csv(
        [
            "pid",
            "name",
            *[f"before.{one}_bytes" for one in ids],
            *[f"after.{one}_bytes" for one in ids],
            "throughput_before",
            "throughput_after",
        ],
        [
            [
                one["pid"],
                one["name"],
                *[one["before"].get(node, 0) for node in ids],
                *[one["after"].get(node, 0) for node in ids],
                one["throughput_before"],
                one["throughput_after"],
            ]
            for one in document["processes"]
        ],
    )


def with_steps(copy: Copy, tries: list[str]) -> Copy:
    """The same scenario with these steps, `_BETWEEN` seconds apart. Raises UsageError."""
    import yaml

    names = {str(one["pid"]): one["name"] for one in copy.document["processes"] if "pid" in one}
    steps: list[dict[str, Any]] = []
    for number, text in enumerate(tries):
        try:
            step = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise UsageError(
                f"--try {number + 1} is not YAML: {output.printable(str(getattr(exc, 'problem', exc)), 100)}",
                _FORM,
            ) from None
        if not isinstance(step, dict):
            raise UsageError(f"--try {number + 1}: '{output.printable(text, 80)}' is no step", _FORM)
        for call, arguments in step.items():
            if isinstance(arguments, dict) and str(arguments.get("task")) in names:
                step[call] = {**arguments, "task": names[str(arguments["task"])]}
        steps.append({"at": _BEFORE + number * _BETWEEN, **step})
    return replace(copy, document={**copy.document, "steps": steps, "run": _length(tries)})


def _length(tries: list[str]) -> str:
    return f"{_BEFORE + len(tries) * _BETWEEN + _AFTER}s"


def report(copy: Copy, tries: list[str], seed: int | None = None) -> dict[str, Any]:
    """Run the copy with and without the steps. Sizes and times are scaled to the machine itself. Raises UsageError,
    ParseError."""
    from backend.emulator.scenario.description import parse_description
    from backend.emulator.scenario.run import run_scenario

    try:
        tried = parse_description(with_steps(copy, tries).text, "copy")
    except ParseError as exc:
        told = re.sub(r"^copy:\d+: steps\[(\d+)\]", lambda found: f"--try {int(found[1]) + 1}", exc.what)
        told = re.sub(r"^copy:\d+: ", "the copy cannot be emulated: ", told)  # nobody sees that file
        raise UsageError(told, exc.fix) from None
    still = parse_description(replace(copy, document={**copy.document, "run": _length(tries)}).text, "copy")
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
    output.note(f"a copy of {output.printable(kernel.name, 60)} with {copy.processes} processes{smaller}{without}")
    for note in copy.notes:
        output.note(note)


def _print(document: dict[str, Any]) -> None:
    print_steps(document["steps"])
    changed = [one for one in document["processes"] if one["before"] != one["after"] or _other(one)]
    nodes = [str(node["id"]) for node in document["nodes"]]
    if not changed:
        print("no process would change")
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
