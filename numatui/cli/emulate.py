"""`numatui emulate FILE`: run a scenario on an emulated machine, without a screen."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from numatui.cli import output


def emulate(
    file: Annotated[str, typer.Argument(help="A scenario: a YAML file, or a shipped scenario's name.")],
    seed: Annotated[
        int | None, typer.Option(help="Seed of every random choice, instead of the file's.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Run a scenario and report the outcome of every step, placements, counters and simulated times.

    Example: numatui emulate scheduler-moves
    """
    from backend.emulator.run import run_scenario
    from backend.emulator.scenarios import load

    report = run_scenario(load(file), seed=seed)
    if json:
        output.print_json("emulate", report)
        return
    _print(report)


def _print(report: dict[str, Any]) -> None:
    rows = [
        [
            f"{step['at']:.6f}",
            step["call"],
            step["task"] or "",
            step["errno"] or ("" if step["result"] is None else str(step["result"])),
            output.duration(step["seconds"]),
        ]
        for step in report["steps"]
    ]
    if rows:
        output.print_table([">AT", "CALL", "TASK", "RESULT", ">TOOK"], rows)
    nodes = [str(node["id"]) for node in report["nodes"]]
    cells: list[list[str]] = []
    for name, task in report["tasks"].items():
        cells += [
            [
                name,
                str(task["pid"]),
                vma["name"],
                vma["policy"],
                *[str(vma["nodes"].get(node, ".")) for node in nodes],
                str(vma["swap"] or "."),
            ]
            for vma in task["vmas"]
        ]
    output.print_table(
        [
            "TASK",
            ">PID",
            "REGION",
            "POLICY",
            *[f">N{node}" for node in nodes],
            ">SWAP",
        ],
        cells,
    )
    counters = {name: value for name, value in report["counters"].items() if value}
    print(
        f"after {output.duration(report['seconds'])}: "
        + ", ".join(f"{name} {value}" for name, value in counters.items())
    )
