"""`numatui doctor`: what this kernel and this user can do, and how to fix what they cannot."""

from __future__ import annotations

import typer

from numatui.cli import output
from numatui.cli.source import kernel_of


def doctor(context: typer.Context, json: output.Json = False) -> None:
    """Check kernel, permissions and features, and say how to fix what is missing.

    Example: numatui doctor
    """
    from backend.doctor import examine

    kernel = kernel_of(context)
    checks = examine(kernel)
    if json:
        output.print_json(
            "doctor",
            {
                "source": kernel.source,
                "host": output.exact(kernel.name),
                "checks": [
                    {"name": c.name, "state": c.state, "text": output.exact(c.text), "fix": c.fix}
                    for c in checks
                ],
            },
        )
    else:
        output.print_table(
            ["", "CHECK", "MEANING"],
            [
                [check.state, check.name, check.text + (f"; {check.fix}" if check.fix else "")]
                for check in checks
            ],
        )
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(5)
