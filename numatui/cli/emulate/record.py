"""`numatui record` and `numatui replay`: records a machine over time, and shows a recording."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.errors import NotSupported, UsageError
from backend.files.shell_word import path_word
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.waiting import wait
from numatui.cli.source import KernelChoice, kernel_of
from numatui.format import parse_duration, parse_size

if TYPE_CHECKING:
    import threading

    from backend.kernel import Kernel
    from backend.recording.record import Recorder, Taken
    from backend.recording.sinks import Sink


def record(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(
            help="A .tar.gz, a .tar or a folder that does not exist yet. Default: named after host and time."
        ),
    ] = None,
    last: Annotated[str, typer.Option("--for", help="How long (10s, 5m), or `once` for one sample.")] = "10s",
    interval: Annotated[str, typer.Option("--interval", "-i", help="Time from one sample to the next.")] = "1s",
    anonymise: Annotated[
        bool,
        typer.Option(
            "--anonymise",
            help="Replace the names of processes, users, files, cgroups and the host; leave out arguments.",
        ),
    ] = False,
    max_size: Annotated[str, typer.Option("--max-size", help="Stop before the file grows beyond this.")] = "256M",
    json: output.Json = False,
    csv: output.Csv = False,
) -> None:
    """Record this machine (or a demo) over time: samples of its files in /proc and /sys. Each sample after the first
    has only what has changed.

    Ctrl-C ends it and keeps what has been recorded. numatui replay, hwloc's lstopo --input and numastat read it.

    Example: numatui record db7.tar.gz --for 1m --anonymise
    """
    kernel = kernel_of(context)
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be recorded", "copy it")
    from backend.recording.record import Recorder
    from backend.recording.sinks import open_sink

    every, limit = parse_duration(interval), parse_size(max_size)
    duration = 0 if last == "once" else parse_duration(last)
    if limit < 1 << 20:
        raise UsageError(f"'{max_size}' is too small for a recording", "give at least 1M")
    name = _name(kernel, anonymise)
    path = Path(file) if file else Path(f"{name}.tar.gz")
    new = not path.exists()
    sink = open_sink(path, name)
    recorder = None
    with cancelled_by_signals() as cancel:
        try:
            recorder = Recorder(kernel, sink, every / 1e9 if duration else 0.0, anonymise)
            taken, why = _take(recorder, sink, duration, every, limit, cancel)
        except BaseException:
            with suppress(OSError, ValueError):
                sink.close()
            if new and not (recorder and recorder.number):
                with suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()
            raise
        sink.close()
    _report(path, kernel, taken, why, sink.written, json, csv)


def replay(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A folder or tarball with proc/ and sys/.")],
) -> None:
    """Look at a recording in the terminal UI: the same as numatui --replay FILE.

    Example: numatui replay db7.tar.gz
    """
    from numatui.cli.open_ui import open_ui

    chosen = context.find_object(KernelChoice)
    if chosen is not None and chosen.which is not None:
        raise UsageError(f"replay shows {file}, but --{chosen.which} names another machine", "leave one of them out")
    raise typer.Exit(open_ui(KernelChoice("replay", file)))


def _take(
    recorder: Recorder, sink: Sink, duration: int, every: int, limit: int, cancel: threading.Event
) -> tuple[list[Taken], str]:
    """Take samples until the time is over, the size is reached or a signal arrives. Returns them and the reason."""
    from backend.recording.record import Full

    kernel = recorder.kernel
    began = kernel.clock()
    taken: list[Taken] = []
    while True:
        before = sink.written
        try:
            taken.append(recorder.take())
        except Full:
            if not taken:
                raise
            return taken, "full"
        cost = sink.written - before if len(taken) > 1 else 0
        due = began + len(taken) * every
        if due - began > duration:
            return taken, "done"
        if sink.written + cost > limit:
            return taken, "size"
        if not wait(kernel, max(1, due - kernel.clock()), cancel):
            return taken, "stopped"


def _report(path: Path, kernel: Kernel, taken: list[Taken], why: str, written: int, json: bool, csv: bool) -> None:
    later = taken[1:]
    document = {
        "file": output.exact(str(path)),
        "samples": len(taken),
        "bytes": written,
        "ended": why,
        "first": {"files": taken[0].files, "bytes": taken[0].bytes, "processes": taken[0].processes},
        "later": {"files": sum(one.files for one in later), "bytes": sum(one.bytes for one in later)},
    }
    if json:
        output.print_json("record", document)
        return
    if csv:
        output.print_csv_of([document])
        return
    end = {
        "done": "",
        "size": ": the next sample would have exceeded --max-size",
        "full": ": it is as large as a recording can be",
        "stopped": ": it was stopped",
    }[why]
    print(
        f"{_count(len(taken), 'sample')} of {taken[-1].processes} processes in {output.printable(str(path))}, "
        f"{output.size(written)}{end}"
    )
    if later:
        mean = sum(one.bytes for one in later) / len(later)
        print(
            f"the first has {output.size(taken[0].bytes)} in {taken[0].files} files, a later one "
            f"{output.size(mean)} on average, before compression"
        )
    print(f"numatui replay {path_word(str(path))} shows it")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _name(kernel: Kernel, anonymise: bool) -> str:
    """numatui-HOST-20261125-143000."""
    host = re.sub(r"[^A-Za-z0-9_.-]+", "-", "" if anonymise else kernel.name)[:64].strip(".-") or "machine"
    return f"numatui-{host}-{time.strftime('%Y%m%d-%H%M%S')}"
