"""`numatui watch --policy FILE`: moves memory to where it is used, automatically and within the limits of a policy."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import NotSupported, NumatuiError, UsageError
from backend.files.shell_word import shell_word
from backend.kernel import Kernel
from backend.machine.topology import read_topology
from numatui.cli.move.service_manager import tell
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.printing.waiting import beside
from numatui.cli.printing.watching import ticks
from numatui.cli.source import kernel_of

if TYPE_CHECKING:
    from backend.mover.audit import AuditLog
    from backend.mover.mover import Decision, Mover
    from backend.mover.policy import Policy

_MOST_TROUBLE = 10
"""Ends after this many rounds in a row in which the machine cannot be read."""


def watch(
    context: typer.Context,
    policy: Annotated[
        Path | None, typer.Option(help="A YAML file: which processes to move, when, how much (docs/watch.md).")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Move pages. Without it, only what would move is printed.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the policy, and print what it means.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say what the one that runs is doing.")] = False,
    rounds: Annotated[int, typer.Option(min=0, help="End after this many rounds; 0: never.")] = 0,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also print advised moves that are held back, and why."),
    ] = False,
    json: output.Json = False,
) -> None:
    """Watch all processes and move memory to where they run, automatically and slowly. Without --apply it only prints
    what it would move.

    SIGHUP loads the policy again; SIGTERM and Ctrl-C end it after the current call. All that it does is in an audit log
    and can be undone with numatui undo.

    Example: numatui watch --policy watch.yaml --apply
    """
    from backend.mover.policy import load_policy

    if status:
        _print_status(kernel_of(context), json)
        return
    if policy is None:
        raise UsageError("there is no policy", "give --policy FILE; an empty file has the defaults")
    loaded = load_policy(policy)
    if check:
        _print_check(kernel_of(context), policy, loaded, json)
        return
    kernel = kernel_of(context)
    if not kernel.traits.writable:
        raise NotSupported("a recording cannot be changed", "numatui advise says what would be moved in it")
    if apply and not kernel.capabilities()["move_pages"].available:
        raise NotSupported(f"pages cannot be moved here: {kernel.capabilities()['move_pages'].why}")
    if len(read_topology(kernel).memory_ids) < 2:
        nowhere = "this machine has one node with memory: there is nowhere to move pages to"
        if apply:
            raise NotSupported(nowhere, "run it on a NUMA machine")
        output.note(nowhere)
    from backend.job.job import lock_folder
    from backend.mover.audit import AuditLog, announcement, event
    from backend.mover.mover import Mover

    with ExitStack() as stack:
        cancel = stack.enter_context(cancelled_by_signals())
        again = stack.enter_context(_loaded_again())
        folder = kernel.files.jobs_dir().parent
        if not kernel.traits.keeps_jobs:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numatui-demo-")))
        log = AuditLog(folder, lock_folder(kernel, folder / "jobs"), kernel.files)
        stack.callback(log.close)
        said = _Said(log, json, verbose)
        mover = Mover(
            kernel, loaded, not apply, cancel, folder / "jobs" if not kernel.traits.keeps_jobs else None,
            announce=lambda process, proposal: said.event(announcement(process, proposal)),
            alive=lambda: tell("WATCHDOG=1"),
        )  # fmt: skip
        said.event(event("started", policy=str(policy), dry=not apply))
        tell("READY=1")
        try:
            beside(lambda: _run(kernel, mover, said, policy, rounds, cancel, again))
        finally:
            tell("STOPPING=1")
            said.event(event("ended", text=said.summary))


def _print_status(kernel: Kernel, json: bool) -> None:
    from backend.mover.status import document, watch_status
    from numatui.cli.printing.mover_status import in_words

    found = watch_status(kernel) if kernel.traits.keeps_jobs else None
    if json:
        output.print_json("watch-status", document(found))
    else:
        print(in_words(document(found)))


def _run(
    kernel: Kernel,
    mover: Mover,
    said: _Said,
    path: Path,
    rounds: int,
    cancel: threading.Event,
    again: threading.Event,
) -> None:
    from backend.mover.audit import event
    from backend.mover.policy import load_policy

    trouble, stopped = 0, ""
    number = 0
    while not cancel.is_set():
        interval, count = int(mover.policy.interval * 1e9), rounds - number if rounds else 0
        for _ in ticks(kernel, interval, count, cancel, mover.alive):
            number += 1
            if again.is_set():
                break
            try:
                decisions = mover.round(time.time())
            except (NumatuiError, OSError) as exc:
                trouble += 1
                said.event(event("trouble", text=str(exc)))
                if trouble >= _MOST_TROUBLE:
                    raise
                continue
            trouble = 0
            said.decisions(decisions)
            _run_after(mover, decisions, said)
            if mover.stopped and mover.stopped != stopped:
                said.event(event("stopped", text=mover.stopped))
            stopped = mover.stopped
        if not again.is_set():
            return
        again.clear()
        try:
            mover.load(load_policy(path))
            said.event(event("loaded", policy=str(path)))
        except NumatuiError as exc:
            said.event(event("trouble", text=f"the policy stays as it was: {exc}"))


def _run_after(mover: Mover, decisions: list[Decision], said: _Said) -> None:
    """Run what the policy has run after each move."""
    from backend.mover.after_move import run_after
    from backend.mover.audit import event, record_of

    for one in decisions if mover.policy.after_move else ():
        if one.action == "moved":
            problem = run_after(mover.policy.after_move, record_of(one, time.time()), mover.alive)
            if problem:
                said.event(event("trouble", text=problem))


class _Said:
    """Writes the audit log and prints it. A process that is held back is reported again only if its reason changes."""

    def __init__(self, log: AuditLog, json: bool, verbose: bool) -> None:
        self._log, self._json, self._verbose = log, json, verbose
        self._held: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    @property
    def summary(self) -> str:
        """Number of decisions by action, and of processes held back in the last round by reason."""
        parts = [f"{count} {what}" for what, count in self._counts.items()]
        codes = list(self._held.values())
        held = ", ".join(f"{codes.count(code)} {code}" for code in dict.fromkeys(codes))
        return "; ".join([*parts, *([f"held back: {held}"] if held else [])]) or "nothing to move"

    def event(self, record: dict[str, Any]) -> None:
        self._log.write(record)
        text = record.get("text", "")
        self._show(record, record["event"] + (f": {text}" if text else ""))

    def decisions(self, decisions: list[Decision]) -> None:
        from backend.mover.audit import record_of

        held: dict[Any, str] = {}
        for one in decisions:
            if one.action == "held":
                held[one.process.identity] = one.code
                if self._held.get(one.process.identity) == one.code:
                    continue
            else:
                what = one.action.replace("-", " ")
                self._counts[what] = self._counts.get(what, 0) + 1
            record = record_of(one, time.time())
            self._log.write(record)
            if one.action != "held" or self._verbose:
                self._show(record, _line(one))
        self._held = held

    def _show(self, record: dict[str, Any], line: str) -> None:
        if self._json:
            output.print_json("watch", {name: value for name, value in record.items() if name != "schema"}, line=True)
        else:
            print(f"{time.strftime('%H:%M:%S', time.localtime(record['at']))}  {output.printable(line, 2000)}")


def _line(one: Decision) -> str:
    what = {"moved": "moved", "would-move": "would move", "held": "held back", "failed": "failed"}[one.action]
    arrow = f"{one.proposal.sources}→{one.proposal.targets}"
    amount = output.size(one.outcome.moved if one.outcome is not None else one.proposal.bytes)
    more = f": {one.text}" if one.text else ""
    return (
        f"{what} {one.process.pid} {one.process.command[:60]}  {amount} {arrow}  gain {one.proposal.ratio:.2f}x{more}"
    )


def _told(policy: Any) -> Iterator[tuple[str, str]]:
    from dataclasses import fields

    for one in fields(policy):
        yield one.name, _shown(one.name, getattr(policy, one.name))


def _shown(name: str, value: Any) -> str:
    """In the notation of the file."""
    if name in ("min_size", "max_per_hour", "max_rate"):
        return output.size(value).replace(".0", "") if value else "no limit" if name == "max_rate" else "0"
    if name in ("interval", "settle", "cooldown", "max_stall"):
        return output.duration(value)
    if name == "quiet":
        spans = [f"{one.since // 60:02}:{one.since % 60:02}-{one.to // 60:02}:{one.to % 60:02}" for one in value]
        return " ".join(spans) or "never"
    if name == "after_move":
        return " ".join(map(shell_word, value)) or "nothing"
    if name in ("allow", "deny"):
        return "; ".join(rule.text for rule in value) or ("everybody" if name == "allow" else "nobody")
    return f"{value:.0%}" if name == "stop_pressure" else str(value)


def _print_check(kernel: Kernel, path: Path, policy: Policy, json: bool) -> None:
    idle = list(_idle_rules(kernel, policy))
    if json:
        document = {
            "policy": output.exact(str(path)),
            "settings": {name: output.exact(value) for name, value in _told(policy)},
            "unmatched": [{"list": name, "rule": output.exact(rule)} for name, rule in idle],
        }
        output.print_json("watch-check", document)
        return
    for name, value in _told(policy):
        print(f"{name:15} {value}")
    for name, rule in idle:
        output.note(f"{name}: no process matches {rule} now")


def _idle_rules(kernel: Kernel, policy: Policy) -> Iterator[tuple[str, str]]:
    """A rule with a slip of the pen allows or denies nobody, and is not noticed otherwise."""
    from backend.selection.selection import Selection, select

    everybody = select(kernel, Selection())
    for name, rules in (("allow", policy.allow), ("deny", policy.deny)):
        for rule in rules:
            if not any(rule.fits(kernel, process) for process in everybody):
                yield name, rule.text


@contextmanager
def _loaded_again() -> Iterator[threading.Event]:
    """An event that SIGHUP sets."""
    again = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: again.set())
    try:
        yield again
    finally:
        signal.signal(signal.SIGHUP, before)
