"""The tables of `numatui emulate --compare` and `--trace`."""

from __future__ import annotations

from typing import Any

from numatui.cli.printing import output


def print_comparison(profiles: dict[str, dict[str, Any]]) -> None:
    """The five benefits, one column a kernel."""
    runs = list(profiles.values())

    def row(title: str, *values: str) -> list[str]:
        return [title, *values]

    rows = [
        row(
            "1 pages on the nodes asked for",
            *[f"{run['pages_arrived']} of {run['pages_asked']}" for run in runs],
        ),
        row("2 time until all are usable again", *[output.duration(run["seconds"]) for run in runs]),
        row("    of it moving", *[output.duration(run["seconds_moving"]) for run in runs]),
        row("    of it faults afterwards", *[output.duration(run["seconds_touching"]) for run in runs]),
        row("3 swap slots in use after moving", *[str(run["slots_used_after"]) for run in runs]),
        row("    pages that could not be moved", *[str(run["pages_not_moved"]) for run in runs]),
        row("4 pages written to a device", *[str(run["pages_written"]) for run in runs]),
        row("5 source nodes kept apart", *[f"{run['groups_kept']} of {run['groups']}" for run in runs]),
    ]
    output.print_table(["BENEFIT", *[f">{name}" for name in profiles]], rows)


def print_trace(rows: list[dict[str, Any]]) -> None:
    """One line for each step that changed the page."""
    output.print_table(
        [">AT", "BY", "STEP", "FRAME", "OLD FRAME", "PTE", "SLOT", "WAITING"],
        [
            [
                f"{row['time']:.9f}",
                row["who"],
                row["step"],
                _frame(row["frame"]),
                _frame(row["old"]),
                row["pte"],
                f"{row['slot'][0]}×{row['slot'][1]}" if row["slot"] else ".",
                ", ".join(row["waiting"]) or ".",
            ]
            for row in rows
        ],
    )


def _frame(frame: dict[str, Any] | None) -> str:
    """`513@N0 ref 2 map 1 lru,active`."""
    if frame is None:
        return "."
    flags = ",".join(frame["flags"])
    return f"{frame['pfn']}@N{frame['node']} ref {frame['refcount']} map {frame['mapcount']} {flags}"


def print_steps(steps: list[dict[str, Any]]) -> None:
    """Result and duration of each step. Prints nothing without steps."""
    if steps:
        output.print_table(
            [">AT", "CALL", "TASK", "RESULT", ">TOOK", "WITH"],
            [
                [
                    f"{step['at']:.6f}",
                    step["call"],
                    step["task"] or "",
                    step["errno"] or ("" if step["result"] is None else str(step["result"])),
                    output.duration(step["seconds"]),
                    " ".join(f"{key} {value}" for key, value in step["arguments"].items()),
                ]
                for step in steps
            ],
            flexible=5,
        )
