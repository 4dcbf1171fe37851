"""All jobs of this session."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.app import ComposeResult
from textual.screen import Screen

from numatui.format import duration, percent, size
from numatui.tui.keys import bindings
from numatui.tui.paint import bars
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Piece
from numatui.tui.screens.job import JobScreen
from numatui.tui.state.jobs import ShownJob
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table


class _JobTable(Table[ShownJob]):
    BINDINGS: ClassVar = bindings("job-table")

    def key_of(self, row: ShownJob) -> Hashable:
        return row.number


class JobsScreen(Screen[None]):
    """A table of jobs; Enter opens a job."""

    BINDINGS: ClassVar = bindings("jobs")

    def compose(self) -> ComposeResult:
        yield Header()
        yield _JobTable(id="jobs", empty="  nothing has been migrated yet")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(_JobTable).focus()
        self.watch(self.app, "job_ticks", self._show)

    def _show(self, *_: object) -> None:
        marks = glyphs()

        def progress(job: ShownJob, width: int) -> list[Piece]:
            return bars.gauge(job.done, job.total, width, marks, "key")

        columns: list[Column[ShownJob]] = [
            Column("number", "JOB", 4, lambda job, _: str(job.number), "right"),
            Column("what", "WHAT", 24, lambda job, _: job.title.partition(": ")[2], most=50),
            Column("state", "STATE", 9, lambda job, _: job.state),
            Column(
                "share",
                "DONE",
                5,
                lambda job, _: percent(job.done / job.total if job.total else 1.0),
                "right",
            ),
            Column("moved", "MOVED", 6, lambda job, _: size(job.moved), "right"),
            Column("time", "TIME", 7, lambda job, _: duration(job.elapsed), "right", rank=1),
            Column("bar", "PROGRESS", 10, progress, rank=2, most=30),
        ]
        table = self.query_one(_JobTable)
        table.show(state_of(self).jobs[::-1], None if table.columns else columns)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.app.push_screen(JobScreen(event.row))

    def action_leave(self) -> None:
        self.dismiss(None)
