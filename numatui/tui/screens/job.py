"""One migration: its progress, then its result."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from backend.files.text import printable
from backend.plan.reasons import REASONS
from numatui.format import duration, percent, size
from numatui.tui.keys import bindings
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.graphs.job_graphs import job_graphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.paint.summary import before_after
from numatui.tui.reading.reader import Snapshot
from numatui.tui.screens.take_back import take_back
from numatui.tui.state.jobs import ShownJob
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header

_ROLES = {
    "running": "key",
    "paused": "warn",
    "done": "good",
    "partly": "warn",
    "cancelled": "warn",
    "failed": "far",
}


_PLAIN = 20
"""Lines of the screen that are there without graphs."""
_LEAST, _GRAPH = 4, 9
"""Lines of the graphs."""


class JobScreen(Screen[None]):
    """Progress and result of a job. The job goes on when the screen is closed."""

    BINDINGS: ClassVar = bindings("job")

    READING: ClassVar = (
        ("longest call", "of the kernel; the process runs on meanwhile, but where it touches what is on its way"),
        ("rate", "bytes a second, over the last calls"),
    )

    def __init__(self, job: ShownJob) -> None:
        super().__init__()
        self.job = job
        self._ended = job.ended

    def compose(self) -> ComposeResult:
        yield Header()
        with VerticalScroll():
            yield Static(id="job", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.watch(self.app, "job_ticks", self._show)
        self.watch(self.app, "snapshot", self._show)

    def on_resize(self) -> None:
        self._show()

    def _show(self, *_: object) -> None:
        state = state_of(self)
        width, spare = max(20, self.size.width - 2), self.size.height - _PLAIN
        pieces = report(self.job, state.snapshot, width, glyphs(), self.app.no_color, min(spare, _GRAPH))
        self.query_one("#job", Static).update(Paint.of(self.app).text(pieces))
        if self._ended != self.job.ended:
            self._ended = self.job.ended
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("cancel", "hold"):
            return not self.job.ended
        return self.job.can_be_undone if action == "undo" else True

    def action_hold(self) -> None:
        brake = self.job.cancel
        if brake.held:
            brake.release()
        else:
            brake.hold()
            state_of(self).tell("Pausing: the call that is under way ends first.")
        state_of(self).job_ticks += 1

    def action_undo(self) -> None:
        take_back(self.app, self.job.journal, self.job)

    def action_cancel(self) -> None:
        self.job.cancel.set()
        state_of(self).tell("Cancelling: the call that is under way ends first.")

    def action_leave(self) -> None:
        self.dismiss(None)


def report(
    job: ShownJob, snapshot: Snapshot | None, width: int, glyphs: Glyphs, plain: bool, graphs: int = 0
) -> list[Piece]:  # fmt: skip
    """Progress, rates, unmoved pages, errors and placement of a job. `graphs`: lines for graphs over time. Pure."""
    role = _ROLES[job.state]
    share = job.done / job.total if job.total else float(job.ended)
    room = max(10, min(60, width - 30))
    pieces: list[Piece] = [
        (f"\n {job.title[:1].upper()}{job.title[1:]}  ", "bold"), (job.state, role), ("\n\n ", ""),
        *bars.gauge(share, 1, room, glyphs, role), (f" {percent(share):>4} ", "bold"),
        (f" {size(job.moved)} of {size(job.total)} moved\n\n", ""),
    ]  # fmt: skip
    remaining = (job.total - job.done) / job.rate if job.rate and not job.ended else 0
    facts = [
        ("rate", f"{size(job.rate)}/s" if job.rate else "-"),
        ("time", duration(job.elapsed)),
        *([("to go", duration(remaining))] if remaining else []),
        ("longest call", duration(job.worst_call)),
        ("method", job.method),
    ]
    for name, value in facts:
        pieces += [(f" {name} ", "dim"), (f"{value}  ", "")]
    pieces.append(("\n", ""))
    if graphs >= _LEAST and job.course.rates:
        for line in job_graphs(job.course, width, graphs, glyphs):
            pieces += [("\n", ""), *line]
        pieces.append(("\n", ""))
    if job.left:
        pieces.append(("\n Left where it was\n", "bold"))
        for reason, amount in sorted(job.left.items(), key=lambda item: -item[1]):
            pieces += [(f" {size(amount):>6} ", "warn"), (f" {REASONS[reason]}\n", "")]
    for error in job.errors or [one.error for one in job.outcomes if one.error]:
        pieces += [("\n ! ", "far"), (printable(error, 400) + "\n", "")]
    outcomes = {one.process.identity: one for one in job.outcomes}
    rows = {row.process.identity: row for row in snapshot.rows} if snapshot is not None else {}
    for one in job.parts:
        identity = one.process.identity
        row, outcome = rows.get(identity), outcomes.get(identity)
        here = row.node if row is not None else one.runs_on
        if outcome is not None:
            states = [("before", outcome.before), ("after", outcome.after)]
        else:
            states = [("before", one.before), ("now", (row.by_node if row is not None else None) or {})]
        pieces += before_after(one.process, here, states, width, glyphs, plain)
    return pieces
