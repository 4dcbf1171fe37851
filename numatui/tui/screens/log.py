"""Log of all actions: of this session, and of earlier sessions from the journals."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.files.program import program
from backend.files.text import printable
from backend.journal.past_job import PastJob
from backend.journal.past_jobs import own_jobs
from numatui.format import size
from numatui.tui.keys import bindings
from numatui.tui.paint.column import Column
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.screens.take_back import take_back
from numatui.tui.state.actions import Action
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table


@dataclass(frozen=True)
class Entry:
    """A line. `past`: a job of an earlier session. `action`: an action of this session. `at`: seconds since 1970."""

    at: float
    what: str
    result: str
    command: str
    past: PastJob | None = None
    action: Action | None = None


@dataclass
class PastRead(Message):
    """The jobs from the journals."""

    jobs: list[PastJob]


class LogTable(Table[Entry]):
    """Posts `Moved` when the cursor has moved to another line."""

    class Moved(Message):
        """The cursor has moved."""

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def key_of(self, row: Entry) -> Hashable:
        return (row.at, row.what)


class LogScreen(Screen[None]):
    """All entries, newest first."""

    BINDINGS: ClassVar = bindings("log")

    def __init__(self) -> None:
        super().__init__()
        self.past: list[PastJob] = []

    def compose(self) -> ComposeResult:
        yield Header()
        yield LogTable(id="log", empty="  nothing was done yet")
        yield Static(id="detail", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(LogTable).focus()
        self.watch(self.app, "job_ticks", self._show)
        if state_of(self).kernel.traits.keeps_jobs:
            self._read()

    @work(thread=True, group="log", exclusive=True, exit_on_error=False)
    def _read(self) -> None:
        self.post_message(PastRead(own_jobs(state_of(self).kernel.files)[0]))

    def on_past_read(self, event: PastRead) -> None:
        self.past = event.jobs
        self._show()

    def _show(self, *_: object) -> None:
        state = state_of(self)
        own = {job.journal for job in state.jobs}
        entries = [entry_of(action) for action in state.actions.all]
        entries += [
            past_entry(job, program(state_of(self).kernel))
            for job in self.past
            if job.job not in own and job.state != "running"
        ]
        entries.sort(key=lambda one: -one.at)
        table = self.query_one(LogTable)
        table.show(entries, None if table.columns else log_columns())
        self._show_one()

    def on_log_table_moved(self) -> None:
        self._show_one()

    def _show_one(self) -> None:
        row = self.query_one(LogTable).current
        pieces: list[Piece] = []
        if row is not None:
            pieces = [
                (f" {row.what}\n", "bold"),
                (f" {row.result or 'under way'}\n", ""),
                (f" {row.command}", "accent"),
            ]
        self.query_one("#detail", Static).update(Paint.of(self.app).text(pieces))

    def action_copy(self) -> None:
        row = self.query_one(LogTable).current
        if row is not None and row.command:
            state_of(self).copy(row.command)

    def action_undo(self) -> None:
        row, state = self.query_one(LogTable).current, state_of(self)
        own = next((job for job in state.jobs if row is not None and job.action is row.action), None)
        if own is not None and own.can_be_undone:
            take_back(self.app, own.journal, own)
            return
        if row is None or row.past is None:
            state.tell("There is nothing to take back.")
            return
        take_back(self.app, row.past.job, None)

    def action_leave(self) -> None:
        self.dismiss(None)


def entry_of(action: Action) -> Entry:
    """Entry for an action of this session. Control characters from outside are escaped."""
    return Entry(
        action.at,
        printable(action.title, 300),
        printable(action.result, 400),
        printable(action.command, 600),
        action=action,
    )


def past_entry(job: PastJob, machine: str = "numatui") -> Entry:
    """Entry for a job of an earlier session. `machine`: how its machine is named on the command line."""
    moves = " ".join(f"{move.source}→{move.target}" for move in job.moves)
    state = "undone" if job.undone_by else job.state
    what = f"{'taken back: ' if job.undoes else ''}{printable(job.title, 80)} {moves}"
    again = f"{machine} undo {job.job}" if not job.undone_by and not job.undoes else ""
    return Entry(job.at, what, f"{state}, {size(job.moved)} moved", again, job)


def _when(at: float) -> str:
    """The time of today, or day and time."""
    then = time.localtime(at)
    today = time.strftime("%Y-%m-%d", then) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if today else "%m-%d %H:%M", then)


def log_columns() -> Sequence[Column[Entry]]:
    return [
        Column("at", "WHEN", 11, lambda row, _: _when(row.at)),
        Column("session", "", 7, lambda row, _: ("" if row.past is None else "earlier", "dim"), rank=2),
        Column("what", "WHAT", 20, lambda row, _: row.what, most=70),
        Column("result", "RESULT", 16, lambda row, _: row.result or "under way", rank=1, most=70),
    ]
