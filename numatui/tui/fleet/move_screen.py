"""The same move on many hosts, or all of one back: first what each would do, then it is done, a few hosts at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Input, Label, Static

from backend.errors import NumatuiError, UsageError
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.fleet.carry_out import Ended, Task, carry_out, host_of, nothing_left
from backend.fleet.hosts import folded
from backend.fleet.move import Done, announced, has_work, move_there, plan_there, undo_plan_there, undo_there
from backend.fleet.reach import Answer, ask_all
from backend.fleet.record import Moved, find
from backend.job.options import Options
from backend.job.request import MoveRequest
from backend.kernel import Kernel
from backend.plan.plan import Plan
from numatui.format import size
from numatui.tui.fleet.plan_table import COLUMNS, PlanRow, PlanTable, end_of
from numatui.tui.fleet.reader import Fleet
from numatui.tui.fleet.rows import selection_of
from numatui.tui.keys import bindings
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.widgets.footer import KeyFooter

if TYPE_CHECKING:
    from numatui.tui.fleet.app import FleetApp

_DRAWN = 0.2
"""Seconds between two drawings while answers come in."""
_MOST_WARNINGS = 5
"""Of plans, in the question."""


@dataclass
class Planned(Message):
    """What one host would do; `number`: of which planning."""

    answer: Answer[Plan | None]
    number: int


@dataclass
class AllPlanned(Message):
    """All have said what they would do."""

    number: int


@dataclass
class Begun(Message):
    """These hosts move now."""

    hosts: Sequence[str]


@dataclass
class HostEnded(Message):
    """One host has moved, or not."""

    answer: Answer[Done]


@dataclass
class AllEnded(Message):
    """Nothing more happens on these hosts. `ended`: None if nothing could be begun."""

    hosts: Sequence[str]
    ended: Ended | None
    problem: str = ""


@dataclass
class Work:
    """A move that is under way until `done` is set."""

    cancel: threading.Event
    done: threading.Event


_FIELDS = (("which", "Processes", "unit:postgresql, match:ora_*"), ("from", "From", "0-1"), ("to", "To", "2-3"),
           ("rolling", "At a time", "1"))  # fmt: skip


class FleetMoveScreen(Screen[None]):
    """`hosts`: where. `moved`: what is taken back, instead of a move."""

    BINDINGS: ClassVar = bindings("fleet-move")
    READING: ClassVar = (
        ("Processes", "as in the filter of the process table: unit:postgresql, match:ora_*, user:web, cgroup:/db"),
        ("At a time", "so many hosts move at once; after one on which it has not gone as said, no more begin"),
        ("ROOM", "whether the targets have room for it"),
    )

    def __init__(self, fleet: Fleet, hosts: Sequence[str], moved: Moved | None = None) -> None:
        super().__init__()
        self.fleet, self.moved = fleet, moved
        self.sudo = fleet.sudo if moved is None else moved.sudo
        self.hosts = list(hosts) if moved is None else moved.back
        self.unknown = moved.unknown if moved is not None else []
        self.rows: dict[str, PlanRow] = {host: PlanRow(host, state=("", "")) for host in self.hosts}
        self.request: MoveRequest | None = None
        self.planned = False
        self.work: Work | None = None
        self.running = False
        self.ended: Ended | None = None
        self._number = 0
        self._said: list[Piece] = []
        self._stop_planning = threading.Event()
        self._names = _short_names(self.hosts)
        self._draw: Timer | None = None

    @property
    def _app(self) -> FleetApp:
        return cast("FleetApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="top", markup=False)
        with Horizontal(id="fields"):
            for name, label, example in _FIELDS:
                if self.moved is None or name == "rolling":
                    yield Label(label, classes="label")
                    yield Input("1" if name == "rolling" else "", id=name, compact=True, max_length=200,
                                placeholder=example)  # fmt: skip
        yield Static(id="status", markup=False)
        yield PlanTable(id="plans")
        yield Static(id="below", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        if self.moved is None:
            self.query_one("#which").focus()
            self._say([(" Enter says what each host would do; nothing moves yet", "dim")])
        else:
            self.query_one(PlanTable).focus()
            self._plan()
        self._show()

    def on_unmount(self) -> None:
        self._stop_planning.set()
        if self.work is not None:
            self.work.cancel.set()

    def _show_soon(self) -> None:
        """Many hosts may answer at once."""
        if self._draw is None:
            self._draw = self.set_timer(_DRAWN, self._show)

    def _show(self) -> None:
        self._draw = None
        if not self.is_attached:
            return
        paint = Paint.of(self.app)
        what = f"take fleet job {self.moved.name} back ({printable(self.moved.title, 60)})" if self.moved else "move"
        self.query_one("#top", Static).update(
            paint.text([(" numatui ", "bold"), (" FLEET ", "remote"), (f" {what} on {self._names}", "bold")]),
            layout=False,
        )
        self.query_one("#status", Static).update(paint.text(self._said), layout=False)
        table = self.query_one(PlanTable)
        table.show(list(self.rows.values()), COLUMNS if not table.columns else None)
        self._look()

    def _look(self) -> None:
        """All that is said of the host under the cursor."""
        row = self.query_one(PlanTable).current
        pieces: list[Piece] = [] if row is None else [(f" {printable(row.host, 80)}  ", "bold"), row.state]
        self.query_one("#below", Static).update(Paint.of(self.app).text(pieces))

    def on_plan_table_moved(self) -> None:
        self._look()

    def _say(self, pieces: list[Piece]) -> None:
        self._said = pieces
        self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "rolling" and self.moved is None and not self.running and self.ended is None:
            self._number += 1  # what was said was said of something else
            self._stop_planning.set()
            if self.planned or any(row.state[0] for row in self.rows.values()):
                self.rows = {host: PlanRow(host, state=("", "")) for host in self.hosts}
                self._say([(" Enter says what each host would do; nothing moves yet", "dim")])
            self.planned = False

    def on_input_submitted(self) -> None:
        self._go()

    def on_table_opened(self) -> None:
        self._go()

    def _go(self) -> None:
        """Plans; then asks; then moves."""
        if self.running:
            self._app.tell("it is at work: x cancels it")
        elif self.ended is not None:
            self.dismiss(None)
        elif self.app.screen is not self:
            return  # a second Enter, before the question is seen
        elif not self.planned:
            self._plan()
        else:
            self._ask()

    def _plan(self) -> None:
        try:
            if self.moved is None:
                field = {name: self.query_one(f"#{name}", Input).value.strip() for name in ("which", "from", "to")}
                for name, label, example in _FIELDS[1:3]:
                    if not field[name]:
                        raise UsageError(f"{label} is empty", f"nodes as {example}")
                self.request = MoveRequest(selection_of(field["which"]), field["from"], field["to"])
            self._rolling()
        except NumatuiError as exc:
            self._say([(" " + printable(str(exc), 300), "warn")])
            return
        self._number += 1
        self._stop_planning.set()
        self._stop_planning = threading.Event()
        self.rows = {host: PlanRow(host) for host in self.hosts}
        for host in self.unknown:
            text = f"what was done there is not known here: numatui --host {host} jobs tells, undo takes it back"
            self.rows[host] = PlanRow(host, None, (printable(text, 300), "far"))
        self.query_one(PlanTable).focus()
        self._say([(" asking what each would do …", "dim")])
        self._ask_plans(self.request, self._number, self._stop_planning)

    def _rolling(self) -> int:
        text = self.query_one("#rolling", Input).value.strip()
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 10_000):
            raise UsageError("'At a time' is no number of hosts", "1 or more")
        return int(text)

    @work(thread=True, group="fleet-plan", exit_on_error=False)
    def _ask_plans(self, request: MoveRequest | None, number: int, stop: threading.Event) -> None:
        moved = self.moved

        def ask(kernel: Kernel) -> Plan | None:
            if request is not None:
                return plan_there(kernel, request)
            assert moved is not None
            host = host_of(kernel)
            return undo_plan_there(kernel, moved.jobs[host], moved.began[host])

        def told(one: Answer[Plan | None]) -> None:
            self.post_message(Planned(one, number))

        fleet = self.fleet
        ask_all(self.hosts, ask, self.sudo, fleet.fanout, fleet.timeout, told, stop)
        self.post_message(AllPlanned(number))

    def on_planned(self, event: Planned) -> None:
        if event.number != self._number:
            return
        one = event.answer
        if one.error is not None:
            error = str(one.error).removeprefix(f"{one.host} ")
            self.rows[one.host] = PlanRow(one.host, None, (printable(error, 300), "far"))
        elif one.value is None:
            nothing = "nothing is left to do there" if self.moved is not None else "there is no such process"
            self.rows[one.host] = PlanRow(one.host, None, (nothing, "dim"))
        elif not has_work(one.value):
            self.rows[one.host] = PlanRow(one.host, None, ("nothing of it would move", "dim"))
        else:
            warnings = "; ".join(dict.fromkeys(warning.text for warning in one.value.warnings))
            self.rows[one.host] = PlanRow(one.host, one.value, (printable(warnings, 300), "warn"))
        self._show_soon()

    def on_all_planned(self, event: AllPlanned) -> None:
        if event.number != self._number:
            return
        self.planned = bool(self._todo())
        self.refresh_bindings()
        failed = sum(1 for row in self.rows.values() if row.plan is None and row.state[1] == "far")
        pieces: list[Piece] = [(f" {self._announcement()}", "bold")] if self.planned else [(" nothing to do", "bold")]
        if failed:
            pieces.append((f"  {failed} host{'s' * (failed > 1)} cannot", "far"))
        if self.planned:
            pieces.append(("  Enter asks, and does it", "dim"))
        elif self.moved is not None and not failed:
            self._nothing_left(self.moved)
        self._say(pieces)

    @work(thread=True, group="fleet-plan", exit_on_error=False)
    def _nothing_left(self, moved: Moved) -> None:
        """All of it is back already: the next one is offered then."""
        with suppress(NumatuiError, OSError):
            nothing_left(Task(f"undo of {moved.name}", self.sudo, [], _nobody, undoes=moved))

    def _todo(self) -> dict[str, Plan]:
        return {row.host: row.plan for row in self.rows.values() if row.plan is not None}

    def _announcement(self) -> str:
        todo = self._todo()
        processes = sum(len(plan.processes) for plan in todo.values())
        return (
            f"{size(sum(plan.bytes for plan in todo.values()))} of {processes} process{'es' * (processes != 1)} on "
            f"{len(todo)} host{'s' * (len(todo) != 1)}"
        )

    def _ask(self) -> None:
        try:
            rolling = self._rolling()
        except NumatuiError as exc:
            self._say([(" " + printable(str(exc), 300), "warn")])
            return
        lines = [self._announcement(), f"{min(rolling, len(self._todo()))} at a time, until one does not go as said"]
        short = [host for host, plan in self._todo().items() if not all(room.enough for room in plan.room)]
        if short:
            lines.append(f"not enough room: {folded(short)}")
        for text, hosts in self._warnings().items():
            lines.append(f"{_short_names(hosts)}: {text}")
        verb = "Take back" if self.moved is not None else "Move"
        question = Question(f"{verb} on {_hosts(len(self._todo()))}?", lines, verb, self._command(rolling))
        self.app.push_screen(question, lambda yes: self._run(rolling, bool(yes)))

    def _warnings(self) -> dict[str, list[str]]:
        """Those of the plans, with the hosts that have them; a few."""
        found: dict[str, list[str]] = {}
        for host, plan in self._todo().items():
            for warning in plan.warnings:
                found.setdefault(printable(warning.text, 300), []).append(host)
        return dict(list(found.items())[:_MOST_WARNINGS])

    def _command(self, rolling: int) -> str:
        """The same from a shell."""
        if self.moved is not None:
            return f"numatui fleet undo {self.moved.name} --rolling {rolling}"
        if self.request is None:
            return ""
        sudo = " --sudo" if self.sudo else ""
        hosts = shell_word(folded(self.hosts))
        one = self.request
        chosen = " ".join([*(f"--match {shell_word('*' + part + '*')}" for part in one.selection.patterns),
                           replace(one.selection, patterns=()).text])  # fmt: skip
        return (
            f"numatui fleet --hosts {hosts}{sudo} migrate {chosen.strip()} --from {shell_word(one.sources)} "
            f"--to {shell_word(one.targets)} --rolling {rolling}"
        )

    def _run(self, rolling: int, yes: bool) -> None:
        if not yes or self.running or not self.planned or self.ended is not None:
            return
        todo, request, moved, options = self._todo(), self.request, self.moved, Options()
        said = {host: announced(plan) for host, plan in todo.items()}

        def move(kernel: Kernel, host: str, cancel: threading.Event) -> Done | None:
            if moved is not None:
                return undo_there(kernel, moved.jobs[host], moved.began[host], options, cancel)
            assert request is not None
            return move_there(kernel, request, said[host], options, cancel)

        title = f"undo of {moved.name}" if moved is not None else (
            f"migrate {request.sources} → {request.targets}" if request is not None else "")  # fmt: skip
        everywhere = not any(row.plan is None and row.state[1] == "far" for row in self.rows.values())
        task = Task(title, self.sudo, list(todo), move, rolling, moved, everywhere, options.budget / 1e9)
        for host in todo:
            self.rows[host] = PlanRow(host, todo[host], ("to do", "dim"))
        self.running = True
        self.work = Work(threading.Event(), threading.Event())
        self._app.works.append(self.work)
        for field in self.query(Input):
            field.disabled = True  # also: keys are keys again
        self.query_one(PlanTable).focus()
        self.refresh_bindings()
        self._say([(f" {self._announcement()}: at work", "accent"), ("  x cancels", "dim")])
        self._carry_out(task, self.work)

    @work(thread=True, group="jobs", exit_on_error=False)
    def _carry_out(self, task: Task, work: Work) -> None:
        def told(one: Answer[Done]) -> None:
            self.post_message(HostEnded(one))

        def begins(hosts: Sequence[str]) -> None:
            self.post_message(Begun(hosts))

        try:
            self.post_message(AllEnded(task.hosts, carry_out(task, work.cancel, told, begins)))
        except Exception as exc:
            self.post_message(AllEnded(task.hosts, None, problem_of(exc)))
        finally:
            work.done.set()

    def on_begun(self, event: Begun) -> None:
        for host in event.hosts:
            self.rows[host] = PlanRow(host, self.rows[host].plan, ("moving …", "accent"))
        self._show_soon()

    def on_host_ended(self, event: HostEnded) -> None:
        one = event.answer
        plan = self.rows[one.host].plan
        self.rows[one.host] = PlanRow(one.host, plan, end_of(one))
        self._show_soon()

    def on_all_ended(self, event: AllEnded) -> None:
        self.running, self.ended = False, event.ended
        self.refresh_bindings()
        if event.ended is None:
            self.planned = False
            self._say([(" nothing was done: " + printable(event.problem, 300), "far")])
            return
        for host in event.ended.left:
            self.rows[host] = PlanRow(host, self.rows[host].plan, ("nothing was done", "warn"))
        moved = sum(one.value.outcome.moved for one in event.ended.ends.values() if one.value is not None)
        cancelled = self.work is not None and self.work.cancel.is_set()
        how: Piece = ("ended by a surprise", "far")
        if cancelled or event.ended.fine:
            how = ("cancelled", "warn") if cancelled else ("done", "good")
        pieces: list[Piece] = [(" ", ""), how, (f": {size(moved) if moved else 'nothing'} moved", "bold")]
        if event.ended.unwritten:
            pieces.append(("  " + printable(event.ended.unwritten, 200), "far"))
        if self.unknown:
            pieces.append((f"  not on {_short_names(self.unknown)}, of which nothing is known", "far"))
        if self.moved is None and moved:
            pieces.append((f"  u takes it back (numatui fleet undo {event.ended.name})", "dim"))
        self._say(pieces)

    def action_cancel(self) -> None:
        if self.running and self.work is not None:
            self.work.cancel.set()
            self._say([(" cancelling: hosts end the call that they are in, no other one begins", "warn")])

    def action_undo(self) -> None:
        """Takes back what was just moved."""
        if self.ended is not None and self.moved is None:
            try:
                self.app.switch_screen(FleetMoveScreen(self.fleet, [], find(self.ended.name)))
            except (NumatuiError, OSError) as exc:
                self._app.tell(str(exc), severity="warning")

    def action_leave(self) -> None:
        if self.running:
            self._app.tell("it is at work: x cancels it", severity="warning")
        elif isinstance(self.focused, Input):
            self.query_one(PlanTable).focus()
        else:
            self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cancel":
            return self.running
        if action == "undo":
            return self.ended is not None and self.moved is None
        return super().check_action(action, parameters)


def _nobody(kernel: Kernel, host: str, cancel: threading.Event) -> Done | None:
    return None


def _hosts(count: int) -> str:
    return f"{count} host{'s' * (count != 1)}"


def _short_names(hosts: Sequence[str]) -> str:
    names = folded(hosts)
    return printable(names, 80) if len(names) <= 60 else _hosts(len(hosts))
