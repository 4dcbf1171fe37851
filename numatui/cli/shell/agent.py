"""`numatui agent`: what `--host` sends to another machine, to be read before it is trusted; or an agent for a demo or
a recording, for tests and for trying out a fleet without machines."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Annotated

import typer

from numatui.cli.source import kernel_of


def agent(
    context: typer.Context,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Be the agent, on stdin and stdout: with --demo or --replay in front, of those."),
    ] = False,
) -> None:
    """Print the program that --host sends to the Python of another machine: it answers there for numatui here.

    Example: numatui agent | less
    """
    if not serve:
        from backend.remote.bundle import agent as text

        print(text(), end="")
        return
    from backend.agent.serve import main
    from backend.remote.served import ServedKernel, ServedState

    kernel = kernel_of(context)
    if start := getattr(kernel, "start", None):
        start()
    # What numatui sends to a Python that is to become an agent.
    sys.stdin.buffer.read(int(sys.stdin.buffer.readline(20)))
    if kernel.traits.is_host:
        main(ServedKernel(kernel))
        return
    folder = Path(tempfile.mkdtemp(prefix="numatui-agent-"))
    main(ServedKernel(kernel), lambda: rmtree(folder, ignore_errors=True), ServedState(folder / "numatui"))
