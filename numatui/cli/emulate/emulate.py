"""`numatui emulate FILE`: runs a scenario on an emulated machine, without the terminal UI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import UsageError
from numatui.cli.printing import output
from numatui.cli.printing.emulate_tables import print_comparison, print_steps, print_trace
from numatui.cli.shell import completing
from numatui.cli.source import KernelChoice
from numatui.format import parse_duration

if TYPE_CHECKING:
    from backend.emulator.scenario.description import Description


def emulate(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(
            help="A scenario: a YAML file, or a shipped scenario's name.", autocompletion=completing.scenarios
        ),
    ] = None,
    from_live: Annotated[
        bool,
        typer.Option("--from-live", help="A copy of this machine, or of --host: its nodes, processes, placement."),
    ] = False,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="PATH", help="A copy of a recorded machine instead.")
    ] = None,
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="PLACE",
            help="Where in the recording of --from: a sample's number, a time, last. With a scenario: when --try "
            "begins.",
        ),
    ] = "",
    try_: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="STEP",
            help="On the copy, or after the scenario's steps: a step as in scenarios, "
            "'migrate_pages: {task: PID, from: 0, to: 1}' or 'offline: {node: 1}'; may be repeated, in order.",
        ),
    ] = None,
    write: Annotated[
        str,
        typer.Option(metavar="FILE", help="Write the copy as a scenario, for --demo FILE and all commands."),
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice, instead of the file's.")] = None,
    compare: Annotated[
        str,
        typer.Option(metavar="PROFILE,PROFILE", help="Run it on each of these kernels and compare the five benefits."),
    ] = "",
    trace: Annotated[
        str,
        typer.Option(
            metavar="PAGE",
            help="Follow one page: TASK:REGION:PAGE, TASK:0xADDRESS or a frame number.",
        ),
    ] = "",
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Run a scenario and report the outcome of every step, placements, counters and simulated times.

    With --from-live or --from it copies a machine and tries steps on the copy: what would move, how long that takes,
    and how throughput and free memory change.

    Example: numatui emulate scheduler-moves
    """
    if (file is not None) + from_live + (from_ is not None) != 1:
        raise UsageError("emulate needs exactly one machine", "give a scenario, or --from-live, or --from PATH")
    if file is None:
        choice = context.find_object(KernelChoice)
        far = choice is not None and choice.which == "remote" and from_live
        if choice is not None and choice.which is not None and not far:
            raise UsageError(
                f"emulate makes its own machine, but --{choice.which} names another",
                "leave it out; --from PATH --at PLACE copies a recorded one",
            )
        if compare or trace:
            raise UsageError("--compare and --trace are for scenarios", "write the copy to a file first: --write")
        from numatui.cli.emulate.what_if import kernel_to_copy, what_if

        kernel = choice.open() if far and choice is not None else kernel_to_copy(from_live, from_, at)
        what_if(kernel, try_ or [], write, seed, json, csv)
        return
    if write:
        raise UsageError("--write is for copies", "a scenario is a file already")
    if at and not try_:
        raise UsageError("--at says when --try begins", "give --try STEP too")
    begin = parse_duration(at) / 1e9 if at else None
    from backend.emulator.scenario.run import run_scenario
    from backend.emulator.scenario.shipped import load

    if compare:
        if trace or seed is not None:
            raise UsageError("--compare runs the scenario as it is", "leave --trace and --seed out")
        _compare(lambda profile: load(file, profile, try_ or (), begin), compare, json, csv)
        return
    description = load(file, tries=try_ or (), at=begin)
    for note in description.notes:
        output.note(note)
    report = run_scenario(description, seed=seed, trace=trace)
    if json:
        output.print_json("emulate", report)
        return
    if csv:
        output.print_csv_of(report["trace"] if trace else report["steps"])
        return
    if trace:
        print_trace(report["trace"])
        return
    _print(report)


def _compare(describe: Callable[[str], Description], names: str, json: bool, csv: bool) -> None:
    from backend.emulator.profile import PROFILES
    from backend.emulator.study.compare import compare

    profiles = [name.strip() for name in names.split(",") if name.strip()]
    for name in profiles:
        if name not in PROFILES:
            raise UsageError(f"there is no profile '{name}'", f"choose from {', '.join(PROFILES)}")
    if not profiles:
        raise UsageError("--compare names no profile", f"choose from {', '.join(PROFILES)}")
    report = compare(describe, list(dict.fromkeys(profiles)))
    if json:
        output.print_json("compare", report)
        return
    if csv:
        output.print_csv_of([{"profile": name, **figures} for name, figures in report["profiles"].items()])
        return
    print_comparison(report["profiles"])


def _print(report: dict[str, Any]) -> None:
    print_steps(report["steps"])
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
    if report["files"]:
        output.print_table(
            ["FILE", "TYPE", ">PAGES", *[f">N{node}" for node in nodes], ">DIRTY"],
            [
                [
                    file["path"], file["type"], str(file["pages"]),
                    *[str(file["nodes"].get(node, ".")) for node in nodes], str(file["dirty"] or "."),
                ]
                for file in report["files"]
            ],
        )  # fmt: skip
    counters = {name: value for name, value in report["counters"].items() if value}
    print(
        f"after {output.duration(report['seconds'])}: "
        + ", ".join(f"{name} {value}" for name, value in counters.items())
    )
    if report["damaged_pages"]:
        print(f"{report['damaged_pages']} pages do not hold what was last written to them")
