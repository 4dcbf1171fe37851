"""Two samples of a recording, compared: what became of the machine and of each process."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.files.text import printable
from numatui.format import percent, size
from numatui.tui.keys import bindings
from numatui.tui.model.between import Change, between
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.graphs.trend_graphs import local_role
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.paint.time_line import clock
from numatui.tui.reading.machine import Playback
from numatui.tui.reading.reader import problem_of
from numatui.tui.reading.samples import SampleRead, read_sample
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table


@dataclass
class SamplesRead(Message):
    """Both samples, or why they cannot be read."""

    before: SampleRead | None
    after: SampleRead | None
    problem: str = ""


class _Changes(Table[Change]):
    def key_of(self, row: Change) -> Hashable:
        return row.process.identity

    def role_of(self, row: Change) -> str:
        return "dim" if row.told == "ended" else ""


class SamplesComparedScreen(Screen[None]):
    """`first`, `second`: the numbers of the samples, the earlier first."""

    BINDINGS: ClassVar = bindings("samples-compared")

    READING: ClassVar = (
        ("MOVED", "bytes that a process has less on some nodes and more on others"),
        ("GROWN", "bytes that it has more, or less, in all"),
        ("N0 …", "the same for each node"),
    )

    def __init__(self, recording: Playback, first: int, second: int) -> None:
        super().__init__()
        self.recording, self.first, self.second = recording, first, second

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="title", markup=False)
        yield _Changes(id="changes", empty="  reading both samples …")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(_Changes).focus()
        self._title()
        self._read()

    @work(thread=True, group="compare", exit_on_error=False)
    def _read(self) -> None:
        try:
            before, after = (read_sample(self.recording.beside(number)) for number in (self.first, self.second))
            self.post_message(SamplesRead(before, after))
        except Exception as exc:
            self.post_message(SamplesRead(None, None, problem_of(exc)))

    def on_samples_read(self, event: SamplesRead) -> None:
        self._title(event)
        if event.before is None or event.after is None:
            return
        table = self.query_one(_Changes)
        table.empty = "  no process has changed"
        nodes = sorted({*event.before.topology.memory_ids, *event.after.topology.memory_ids})
        table.show(between(event.before.rows, event.after.rows), _columns(nodes, glyphs()))

    def _title(self, event: SamplesRead | None = None) -> None:
        samples, marks = self.recording.samples, glyphs()
        origin = samples[0].at
        pieces: list[Piece] = []
        for number, joint in ((self.first, " "), (self.second, f"  {marks.arrow} ")):
            pieces += [
                (f"{joint}sample {number + 1}", "bold"), (f" at {clock(samples[number].at - origin)}", "dim"),
            ]  # fmt: skip
        if event is not None and event.problem:
            pieces.append((f"  {printable(event.problem, 300)}", "far"))
        elif event is not None and event.before is not None and event.after is not None:
            shares, migrated = (event.before.local, event.after.local), event.after.migrated - event.before.migrated
            pieces += [
                ("  local ", "dim"), (percent(shares[0]), local_role(shares[0])), (f" {marks.arrow} ", "dim"),
                (percent(shares[1]), local_role(shares[1])),
            ]  # fmt: skip
            if migrated > 0:
                pieces.append((f"  {size(migrated * state_of(self).kernel.page_size)} migrated", "accent"))
        self.query_one("#title", Static).update(Paint.of(self.app).text(pieces))

    def action_unmark(self) -> None:
        state_of(self).marked = -1
        self.dismiss(None)

    def action_leave(self) -> None:
        self.dismiss(None)


def _columns(nodes: list[int], marks: Glyphs) -> list[Column[Change]]:
    def amount(value: int) -> Piece:
        sign = "+" if value > 0 else "-"
        return (f"{sign}{size(abs(value))}" if value else ".", "" if value else "dim")

    def of_node(node: int) -> Column[Change]:
        def cell(change: Change, _: int) -> Piece:
            return amount(change.by_node.get(node, 0))

        return Column(f"n{node}", f"N{node}", 6, cell, "right", rank=2)

    def share(change: Change, _: int) -> list[Piece]:
        rows = (change.before, change.after)
        before, after = (None if row is None else row.local for row in rows)
        return [
            (f"{percent(before):>4}", local_role(before)), (f" {marks.arrow} ".ljust(4)[:3], "dim"),
            (f"{percent(after):>4}", local_role(after)),
        ]  # fmt: skip

    def ran(change: Change, _: int) -> str:
        before, after = (None if row is None else row.node for row in (change.before, change.after))
        one, other = ("-" if node is None else str(node) for node in (before, after))
        return one if one == other else f"{one} {marks.arrow} {other}"

    return [
        Column("pid", "PID", 7, lambda one, _: str(one.process.pid), "right"),
        Column("user", "USER", 8, lambda one, _: printable(one.process.user, 32), rank=3),
        Column("command", "COMMAND", 12, lambda one, _: printable(str(one.process.command), 200), spare=True, most=30),
        Column("told", "", 5, lambda one, _: (one.told, "accent"), rank=0.5),
        Column("node", "RUNS ON", 7, ran, rank=1),
        Column("local", "LOCAL", 11, share),
        Column(
            "moved",
            "MOVED",
            6,
            lambda one, _: (size(one.moved) if one.moved else ".", "accent" if one.moved else "dim"),
            "right",
        ),
        Column("grown", "GROWN", 6, lambda one, _: amount(one.grown), "right", rank=1),
        *(of_node(node) for node in nodes),
    ]
