"""Options shared by the commands that move pages."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import UsageError
from backend.kernel import Kernel
from numatui.cli.shell import completing
from numatui.format import parse_duration, parse_size

if TYPE_CHECKING:
    from backend.job.options import Options

MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="auto, move_pages or migrate_pages.",
        autocompletion=completing.one_of("auto", "move_pages", "migrate_pages"),
    ),
]
Budget = Annotated[str, typer.Option(help="The longest that one call should take (20ms); a cancel waits that long.")]
Workers = Annotated[
    str,
    typer.Option(
        help="Threads that move pages in parallel: a number, or auto: workers are added while throughput grows."
    ),
]
MaxRate = Annotated[
    str, typer.Option("--max-rate", help="At most this much a second (2GiB) over all processes; 0: no limit.")
]
All = Annotated[bool, typer.Option("--all", help="Also pages that other processes map (CAP_SYS_NICE).")]
Confine = Annotated[
    bool,
    typer.Option(
        "--cpuset",
        help="Also confine the processes to the targets through their cpuset, so that new pages go there too.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_MOST_WORKERS = 64


def options_of(kernel: Kernel, stack: ExitStack, budget: str, workers: str) -> Options:
    """The options of a job. A demo's journals go to a temporary folder that `stack` removes. Raises UsageError."""
    from backend.job.options import Options

    folder = None
    if not kernel.traits.keeps_jobs:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numatui-demo-"))) / "jobs"
    return Options(
        budget=parse_duration(budget),
        workers=parse_workers(workers),
        journal_dir=folder,
    )


def parse_rate(text: str) -> int:
    """`2GiB`, `2GiB/s` → bytes per second. Raises UsageError."""
    return parse_size(text.removesuffix("/s"))


def parse_workers(text: str) -> int | None:
    """A number of threads; None for `auto`. Raises UsageError."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_WORKERS):
        raise UsageError(f"'{text}' is not a number of workers", f"write auto, or 1 to {_MOST_WORKERS}")
    return int(text)
