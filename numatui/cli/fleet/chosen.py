"""Which hosts a fleet command asks, and asking them: progress, failures, exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from backend.errors import NumatuiError, UsageError
from backend.fleet.hosts import folded, parse_hosts, read_hosts
from backend.fleet.reach import Answer, ask_all
from backend.fleet.record import Moved
from backend.remote.kernel import RemoteKernel
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chosen:
    """`timeout`: seconds that each host has."""

    hosts: list[str]
    sudo: bool
    fanout: int
    timeout: float

    def ask(self, ask: Callable[[RemoteKernel], T]) -> list[Answer[T]]:
        """All of them. Whoever did not answer is told on stderr, those with the same reason in one line."""
        with cancelled_by_signals() as cancel, _Progress(len(self.hosts)) as progress:
            answers = ask_all(self.hosts, ask, self.sudo, self.fanout, self.timeout, progress, cancel)
        tell_failures(answers)
        return answers


def tell_failures(answers: Sequence[Answer[T]]) -> None:
    """On stderr, a line for each reason."""
    failures: dict[str, list[str]] = {}
    for one in answers:
        if one.error is not None:
            alike = re.sub(rf"(?<![\w.-]){re.escape(one.host)}(?![\w.-])", "\0", _there(one.host, str(one.error)))
            failures.setdefault(alike, []).append(one.host)
    for why, hosts in failures.items():
        names = folded(hosts)
        names = names if len(names) <= 400 else f"{len(hosts)} hosts, {names[:400]}…"
        why = why.removeprefix("\0 ") if len(hosts) == 1 else why
        output.failure(f"{names}: {why.replace(chr(0), hosts[0])}")


def _there(host: str, error: str) -> str:
    """Jobs are named by a host as its own; here they are asked for with its name."""
    return re.sub(r"\bnumatui (?=(?:jobs|undo|ps|doctor)\b)", f"numatui --host {host} ", error)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options before the command."""

    hosts: str | None
    hosts_file: Path | None
    sudo: bool
    fanout: int
    timeout: float


def chosen(context: typer.Context) -> Chosen:
    """The hosts that are named. Raises UsageError, NotFound, ParseError, NotSupported."""
    wanted = _wanted(context)
    if wanted.hosts is not None and wanted.hosts_file is not None:
        raise UsageError("hosts are named twice", "give --hosts SET, or --hosts-file FILE")
    if wanted.hosts is not None:
        named = parse_hosts(wanted.hosts)
    elif wanted.hosts_file is not None:
        named = read_hosts(wanted.hosts_file)
    else:
        raise UsageError("no hosts are named", "give --hosts SET, or --hosts-file FILE")
    return Chosen(named, wanted.sudo, wanted.fanout, wanted.timeout)


def chosen_by_job(context: typer.Context, moved: Moved) -> Chosen:
    """Those on which that job has moved something, the last one first. Raises UsageError."""
    wanted = _wanted(context)
    if wanted.hosts is not None or wanted.hosts_file is not None:
        raise UsageError("fleet undo knows its hosts", "leave --hosts out")
    return Chosen(moved.back, moved.sudo, wanted.fanout, wanted.timeout)


def _wanted(context: typer.Context) -> Wanted:
    found = context.find_object(Wanted)
    assert found is not None
    return found


def end(answers: Sequence[Answer[T]]) -> None:
    """Exit with 6 if some did not answer; as the first one failed if none did."""
    errors = [one.error for one in answers if one.error is not None]
    if errors:
        raise typer.Exit(130 if _interrupted(errors) else 6 if len(errors) < len(answers) else errors[0].exit_code)


def _interrupted(errors: Sequence[NumatuiError]) -> bool:
    return any(one.exit_code == 130 for one in errors)


class _Progress:
    """A line on a terminal: how many have answered."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._failed = count, 0, 0
        self._shown = sys.stderr.isatty() and count > 1

    def __enter__(self) -> _Progress:
        self._show()
        return self

    def __call__(self, answer: Answer[T]) -> None:
        self._done += 1
        self._failed += answer.error is not None
        self._show()

    def _show(self) -> None:
        if self._shown:
            failed = f", {self._failed} cannot be reached" if self._failed else ""
            sys.stderr.write(f"\r\033[K{self._done} of {self._count} hosts{failed}")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
