"""Beside the process table, on a wide screen: the process under the cursor. It follows the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import work
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from backend.machine.access_cost import read_costs
from backend.placement.survey import ProcessRow
from backend.process.process import Identity
from numatui.tui.model.access import access_of
from numatui.tui.model.groups import GroupRow
from numatui.tui.model.history import Moment, differ
from numatui.tui.paint import bars, process_detail
from numatui.tui.paint.access_matrix import access_matrix
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.graphs.history_area import history_area
from numatui.tui.paint.paint import Piece
from numatui.tui.reading.process_reader import ProcessLook, ProcessReader
from numatui.tui.reading.reader import Snapshot
from numatui.tui.state.state import state_of
from numatui.tui.widgets.painted_lines import PaintedLines

WIDE = 160
"""Cells of the screen from which the pane is shown."""
_REST = 0.25
"""Seconds that the cursor must rest before mappings are read: they belong to one process only."""
_OLD = 5_000_000_000
"""Nanoseconds after which mappings are read again, though the memory seems the same."""
_PAST = 6  # lines of the history
_NARROW = 20  # cells below which nothing is shown
_MATRIX = 8  # most lines of the matrix


class DetailPane(Widget, can_focus=False):
    """Shows what the readings know at once, and reads mappings and threads where the cursor rests."""

    @dataclass
    class Looked(Message):
        """The process was read."""

        identity: Identity
        look: ProcessLook

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.row: ProcessRow | None = None
        self.look: ProcessLook | None = None
        self._reader: ProcessReader | None = None
        self._resting: Timer | None = None
        self._reading = False
        self._known: dict[int, int] = {}
        self._looked_at = 0
        self._drawn = PaintedLines(self)
        self._seen: object = None

    def show(self, row: ProcessRow | None, again: bool = False) -> None:
        """`again`: there was a new reading; mappings are read again if memory has changed, or after a while."""
        changed = row is None or self.row is None or row.process.identity != self.row.process.identity
        self.row = row
        if changed:
            self.look, self._reader = None, None
        if not self.display or not self.is_attached:
            return
        if (changed or (again and self._old(row))) and row is not None and not isinstance(row, GroupRow):
            if self._resting is not None:
                self._resting.stop()
            self._resting = self.set_timer(_REST, self._rested)
        self._arrange()

    def _old(self, row: ProcessRow | None) -> bool:
        snapshot: Snapshot | None = state_of(self).snapshot
        if row is None or snapshot is None or self.look is None:
            return True
        return differ(self._known, row.by_node or {}) or snapshot.at - self._looked_at >= _OLD

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._drawn.repaint)

    def on_resize(self) -> None:
        self._arrange()

    def _rested(self) -> None:
        row = self.row
        if row is not None and not self._reading and self.app.screen is self.screen:
            self._reader = self._reader or ProcessReader(state_of(self).kernel, row.process)
            self._reading = True
            snapshot: Snapshot | None = state_of(self).snapshot
            self._known, self._looked_at = row.by_node or {}, 0 if snapshot is None else snapshot.at
            self._read(self._reader)

    @work(thread=True, group="detail", exit_on_error=False)
    def _read(self, reader: ProcessReader) -> None:
        snapshot: Snapshot | None = state_of(self).snapshot
        look = reader.look(None if snapshot is None else snapshot.topology)
        self.post_message(self.Looked(reader.process.identity, look))

    def on_detail_pane_looked(self, event: Looked) -> None:
        self._reading = False
        if self.row is None or self.row.process.identity != event.identity:
            self._rested()  # the cursor has moved on meanwhile
        elif event.look.process is not None:
            self.look = event.look
            self._arrange()

    def _arrange(self) -> None:
        """Makes the lines, unless nothing that they tell has changed. Time alone moves the history on, cell by cell."""
        snapshot: Snapshot | None = state_of(self).snapshot
        row, size = self.row, self.size
        if snapshot is None or row is None or size.width < _NARROW:
            self._drawn.show([])
            return
        moments = snapshot.history.get(row.process.identity, ())
        span = (snapshot.at - moments[0].at) // size.width if moments else 0
        look = self.look and (self.look.shown, self.look.threads)
        seen = (row, look, moments, snapshot.at // span if span > 0 else 0, size)
        if seen != self._seen:
            self._seen = seen
            self._drawn.show(self._lines(snapshot, row, moments))

    def _lines(self, snapshot: Snapshot, row: ProcessRow, moments: Sequence[Moment]) -> list[list[Piece]]:
        width, height = self.size.width - 1, self.size.height
        marks, plain, topology = glyphs(), self.app.no_color, snapshot.topology
        members: Sequence[ProcessRow] = row.members if isinstance(row, GroupRow) else (row,)
        lines = process_detail.who(row, width, len(members) if isinstance(row, GroupRow) else 0)
        lines += [[], *access_matrix(access_of(members), read_costs(topology), width, _MATRIX)]
        if not isinstance(row, GroupRow):
            lines += [[], *history_area(moments, snapshot.at, width, _PAST, marks, plain)]
            if self.look is not None:
                left = max(4, height - len(lines) - 2)
                vmas = process_detail.mappings(
                    self.look.shown.placement.vmas, row.node, width, left * 3 // 5, marks, plain
                )
                lines += [[], *vmas]
                room = height - len(lines) - 1
                lines += [[], *process_detail.threads_by_node(self.look.threads, topology, width, room)]
        edge: Piece = (marks.lines[3], "dim")
        lines += [[]] * (height - len(lines))
        return [[edge, *bars.fitted(line, width)] for line in lines[:height]]

    def render_line(self, y: int) -> Strip:
        return self._drawn.strip(y)
