"""`numatui doctor`: what this kernel and this user can do, and how to fix what they cannot."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from numatui.cli.printing import hints, output
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.doctor.check import Check
    from backend.kernel import Kernel


def doctor(context: typer.Context, layout: output.Layout, json: output.Json = False, csv: output.Csv = False) -> None:
    """Check kernel, permissions and features, and say how to fix what is missing.

    Example: numatui doctor
    """
    from backend.doctor import examine

    kernel = kernel_of(context)
    every = examine(kernel)
    checks = output.cut(every)
    told = document(kernel, checks)
    if json:
        output.print_json("doctor", told)
    elif csv:
        output.print_csv_of(told["checks"])
    elif sys.stdout.isatty() and layout.columns is None and not layout.wide:
        _print_wrapped(checks, shutil.get_terminal_size().columns)
    else:
        output.print_table(
            ["", "CHECK", "MEANING"],
            [
                [check.state, check.name, check.text + (f"; {hints.there(check.fix)}" if check.fix else "")]
                for check in checks
            ],
        )
    if any(check.state == "problem" for check in every):
        raise typer.Exit(5)


def document(kernel: Kernel, checks: Sequence[Check]) -> dict[str, Any]:
    """Schema numatui/doctor/1."""
    return {
        "source": kernel.source,
        "host": output.exact(kernel.name),
        "checks": [
            {"name": c.name, "state": c.state, "text": output.exact(c.text), "fix": output.exact(hints.there(c.fix))}
            for c in checks
        ],
    }


def _print_wrapped(checks: list[Check], width: int) -> None:
    """Wraps to the width of the terminal. A fix begins on a line of its own, after an arrow."""
    states = max(len(check.state) for check in checks)
    names = max(len(check.name) for check in checks)
    for check in checks:
        start = f"{check.state:{states}}  {check.name:{names}}  "
        indent = " " * len(start)
        for first, text in ((start, check.text), (f"{indent}→ ", hints.there(check.fix))):
            lines = textwrap.wrap(output.printable(text, 4096), max(20, width - len(first)), break_on_hyphens=False)
            for line in lines:
                sys.stdout.write(first + line + "\n")
                first = " " * len(first)
