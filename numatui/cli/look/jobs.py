"""`numatui jobs`: lists migrations from their journals."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import Interrupted, UsageError
from backend.kernel import Kernel
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.watching import ticks
from numatui.cli.shell import completing
from numatui.cli.source import live_kernel_of

# Nanoseconds between two looks at the journals (--follow).
_POLL = 300_000_000
if TYPE_CHECKING:
    from backend.journal.past_job import PastJob


def jobs(
    context: typer.Context,
    layout: output.Layout,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Print running jobs, then a line whenever a job begins, continues or ends; Ctrl-C ends it.",
        ),
    ] = False,
    wait: Annotated[
        str | None,
        typer.Option(
            metavar="JOB",
            help="Wait until a job has ended, print it, and end as it did: 0 done, 6 in part, 130 cancelled, 1 failed.",
            autocompletion=completing.jobs,
        ),
    ] = None,
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """List migrations, the newest first: the process, what moved, and how it ended.

    Example: numatui jobs --wait 3
    """
    from backend.journal.past_jobs import own_jobs

    kernel = live_kernel_of(context, "jobs")
    if follow:
        if csv:
            raise UsageError("--follow and --csv exclude each other", "--follow --json prints a document a line")
        if wait is not None:
            raise UsageError("--follow and --wait exclude each other", "give one of them")
        _follow(kernel, kernel.files.jobs_dir(), json)
        return
    if wait is not None:
        if csv:
            raise UsageError("--wait and --csv exclude each other", "--json prints the job as a document")
        _wait(kernel, kernel.files.jobs_dir(), wait, json)
        return
    every, problems = own_jobs(kernel.files)
    found = output.cut(every)
    if json:
        output.print_json("jobs", document(found, problems))
        return
    if csv:
        columns = ["job", "at", "pid", "command", "moves", "moved_bytes", "state"]
        output.print_csv(
            columns,
            [
                [
                    one.job,
                    round(one.at),
                    one.asked[0].identity.pid if one.asked else "",
                    one.asked[0].command if one.asked else "",
                    _arrows(one),
                    one.moved,
                    state_of(one),
                ]
                for one in found
            ],
        )
    elif found:
        rows = [
            [
                one.job,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one.at)),
                output.short(one.title, 60),
                _arrows(one),
                output.size(one.moved),
                state_of(one),
            ]
            for one in found
        ]
        output.print_table([">JOB", "WHEN", "PROCESSES", "MOVES", ">MOVED", "STATE"], rows, flexible=2)
    else:
        print("no jobs yet")
    for one in problems:
        output.note(one)


def document(jobs: Iterable[PastJob], problems: Sequence[str]) -> dict[str, Any]:
    """Schema numatui/jobs/1."""
    return {"jobs": [_document(one) for one in jobs], "problems": list(problems)}


_EXIT_CODES = {"done": 0, "partly": 6, "cancelled": 130}
"""By how a job ended; 1 for all other ways."""


def _wait(kernel: Kernel, folder: Path, name: str, json: bool) -> None:
    """Raises NotFound, ParseError, Untrusted; Exit with what the job's end means."""
    from backend.journal.past_jobs import find_job

    with cancelled_by_signals() as cancel:
        job = find_job(folder, name, kernel.files)
        for _ in ticks(kernel, _POLL, 0, cancel):
            job = find_job(folder, name, kernel.files)
            if job.state != "running":
                break
    if job.state == "running":
        raise Interrupted(f"job {job.job} is still running")
    if json:
        output.print_json("job", _document(job))
    else:
        print(
            f"{job.job}  {output.printable(job.title, 60)}  {_arrows(job)}  {output.size(job.moved)}  {state_of(job)}"
        )
    raise typer.Exit(_EXIT_CODES.get(job.state, 1))


def _follow(kernel: Kernel, folder: Path, json: bool) -> None:
    """Print running jobs, then each change, until a signal. Reads only journals that have changed."""
    from backend.journal.past_jobs import Known, changed_jobs

    known: Known = {}
    first = True
    with cancelled_by_signals() as cancel:
        for _ in ticks(kernel, _POLL, 0, cancel):
            for job in changed_jobs(folder, known, kernel.files):
                if first and job.state != "running":
                    continue
                if json:
                    output.print_json("job", _document(job), line=True)
                else:
                    print(
                        f"{time.strftime('%H:%M:%S')}  {job.job}  "
                        f"{output.printable(job.title, 60)}  "
                        f"{_arrows(job)}  {output.size(job.moved)}  {state_of(job)}"
                    )
            first = False


def state_of(job: PastJob) -> str:
    """State of a job, for people."""
    if job.undone_by:
        return "undone"
    return f"{job.state}, an undo" if job.undoes else job.state


def _arrows(job: PastJob) -> str:
    return " ".join(f"{move.source}→{move.target}" for move in job.moves[:6]) + (" …" if len(job.moves) > 6 else "")


def _processes(job: PastJob) -> list[dict[str, Any]]:
    return [
        {"pid": one.identity.pid, "start_time": one.identity.start_time, "command": one.command} for one in job.asked
    ]


def _document(job: PastJob) -> dict[str, Any]:
    return {
        "job": job.job,
        "at": job.at,
        **(_processes(job)[0] if job.asked else {"pid": 0, "start_time": 0, "command": ""}),
        "processes": _processes(job),
        "method": job.method,
        "moves": [{"from": move.source, "to": move.target} for move in job.moves],
        "state": job.state,
        "moved": job.moved,
        "error": job.error or None,
        "undoes": job.undoes or None,
        "undone_by": job.undone_by or None,
    }
