"""Follows a page step by step, on one machine or on two side by side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.inspect.trace import TraceRow
from backend.emulator.study.follow import Came, Stage
from backend.files.text import printable
from numatui.tui.keys import bindings
from numatui.tui.paint.column import Column
from numatui.tui.paint.follow_view import FollowedStep, picture
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.state.actions import Action
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table

PACES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Speeds of slow motion, in changes a second."""


@dataclass(frozen=True, slots=True)
class Followed:
    """Content of a pane: a title, and a machine with the followed page."""

    title: str
    stage: Stage


@dataclass
class Stepped(Message):
    """All machines have advanced. `came`: the outcome of each."""

    came: list[Came]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    row: TraceRow


class FollowRows(Table[_Numbered]):
    """Posts `Moved` when the cursor has moved to another row."""

    class Moved(Message):
        """The cursor has moved."""

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def key_of(self, row: _Numbered) -> Hashable:
        return row.number


class FollowPane(Vertical):
    """The page of one machine: a picture of the row under the cursor, and all rows so far."""

    def __init__(self, followed: Followed, classes: str) -> None:
        super().__init__(classes=classes)
        self.followed = followed
        self._shown = 0

    def compose(self) -> ComposeResult:
        yield Static(classes="who", markup=False)
        yield Static(classes="picture", markup=False)
        yield FollowRows(empty="  nothing yet")

    @property
    def table(self) -> FollowRows:
        return self.query_one(FollowRows)

    def on_resize(self, _: events.Resize) -> None:
        self.update(True)

    def update(self, anew: bool = False) -> None:
        """Shows new rows. A cursor on the last row moves to the new last row."""
        table, stage = self.table, self.followed.stage
        count = min(len(stage.rows), len(stage.follower.ptes))
        at_end = table.cursor >= self._shown - 1
        rows = [_Numbered(number, row) for number, row in enumerate(stage.rows[:count])]
        table.show(rows, None if table.columns else _COLUMNS)
        if at_end and count > self._shown:
            table.action_jump(-1)
        if count != self._shown or anew:
            self._shown = count
        self._picture()

    def on_follow_rows_moved(self) -> None:
        self._picture()

    def _picture(self) -> None:
        stage = self.followed.stage
        time, step, who = stage.follower.at
        paint = Paint.of(self.app)
        pieces: list[Piece] = [
            (f" {printable(self.followed.title, 60)}", "bold"), (f"  now {time:.6f} s", ""),
            (f"  {step} {printable(who, 40)}", "dim"),
        ]  # fmt: skip
        self.query_one(".who", Static).update(paint.text(pieces))
        current = self.table.current
        if current is not None and self.size.width:
            self.query_one(".picture", Static).update(
                paint.text(picture(self._moment(current.number), self.size.width - 1, glyphs()))
            )

    def _moment(self, number: int) -> FollowedStep:
        stage = self.followed.stage
        rows, ptes = stage.rows, stage.follower.ptes
        home = next((row.frame.pfn for row in rows if row.frame is not None), -1)
        return FollowedStep(
            rows[number],
            rows[number - 1] if number else None,
            ptes[number],
            ptes[number - 1] if number else (),
            home,
            stage.machine.profile.name == "direct-v8",
        )


class FollowScreen(Screen[None]):
    """Machines advance only by a key or in slow motion. `may_migrate`: the key `m` begins a migration."""

    BINDINGS: ClassVar = bindings("follow")

    def __init__(self, followed: Sequence[Followed], may_migrate: bool = False) -> None:
        super().__init__()
        self.followed = followed
        self.may_migrate = may_migrate
        self.running = False
        self.pace = 2
        self.came: list[Came] = []
        self._busy = False
        self._wait = 0.0
        self._action: Action | None = None

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="state", markup=False)
        with Horizontal():
            for number, one in enumerate(self.followed):
                yield FollowPane(one, classes="second" if number else "")
        yield KeyFooter()

    @property
    def panes(self) -> list[FollowPane]:
        return list(self.query(FollowPane))

    @property
    def over(self) -> bool:
        """Whether no machine has a pending event."""
        return bool(self.came) and all(came == "over" for came in self.came)

    def on_mount(self) -> None:
        self.panes[0].table.focus()
        self.set_interval(0.125, self._tick)
        self._show()

    def on_unmount(self) -> None:
        for one in self.followed:
            one.stage.leave()

    def _tick(self) -> None:
        if not (self.running and self.is_current):
            return
        self._wait -= 0.125
        if self._wait <= 0:
            self._wait = 1 / PACES[self.pace]
            self._go(False)

    def _go(self, one_step: bool) -> None:
        if not self._busy:
            self._busy = True
            self._step(one_step)

    @work(thread=True, group="follow", exit_on_error=False)
    def _step(self, one_step: bool) -> None:
        try:
            came: list[Came] = [one.stage.step() if one_step else one.stage.next_change() for one in self.followed]
            self.post_message(Stepped(came))
        except Exception as exc:
            self.post_message(Stepped([], problem_of(exc)))

    def on_stepped(self, event: Stepped) -> None:
        self._busy = False
        if event.problem:
            self.running = False
            state_of(self).tell(event.problem, severity="error")
        else:
            self.came = event.came
            if self.over:
                self.running = False
        self._show()

    def _show(self) -> None:
        for pane in self.panes:
            pane.update()
        pieces: list[Piece] = (
            [(" slow motion ", "tag"), (f" {PACES[self.pace]:g} changes a second  [ ] slower, faster", "dim")]
            if self.running
            else [(" paused ", "tag"), (" Enter goes on to the next change, Space goes on slowly", "dim")]
        )
        if self.over:
            pieces = [
                (" over ", "tag"),
                (" nothing else is going to happen; look back with Up and Down", "dim"),
            ]
        elif (
            self.may_migrate
            and not any(one.stage.note for one in self.followed)
            and len(self.followed[0].stage.rows) < 2
        ):
            pieces = [(" paused ", "tag"), (" m moves the process to the next node, then Enter step by step", "dim")]
        for one in self.followed:
            if one.stage.note:
                pieces.append((f"  {one.stage.note}", "key"))
                if self._action is not None:
                    self._action.result = one.stage.note
        self.query_one("#state", Static).update(Paint.of(self.app).text(pieces))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.may_migrate if action == "migrate" else True

    def action_on(self) -> None:
        """To the next change. Once the call has returned, only `step` and `run` let time pass: nothing would be seen of
        it."""
        self.running = False
        if self.over or all(one.stage.note for one in self.followed):
            again = "m moves it again, " if self.may_migrate else ""
            state_of(self).tell(f"That was the last change. {again}. and Space let time go on, Esc goes back.")
        else:
            self._go(False)

    def action_step(self) -> None:
        self.running = False
        self._go(True)

    def action_run(self) -> None:
        self.running, self._wait = not self.running, 0.0
        self._show()

    def action_pace(self, step: int) -> None:
        self.pace = max(0, min(self.pace + step, len(PACES) - 1))
        self._show()

    def action_migrate(self) -> None:
        """Asks, then migrates the page's process from the page's node to the next node."""
        stage = self.followed[0].stage
        frame, nodes = stage.rows[-1].frame, list(stage.machine.memory_nodes)
        if frame is None or len(nodes) < 2:
            state_of(self).tell("The page is not in memory now.", severity="warning")
            return
        source = frame.node
        target = nodes[(nodes.index(source) + 1) % len(nodes)] if source in nodes else nodes[0]
        who = printable(self.followed[0].title, 60)

        def confirmed(yes: bool | None) -> None:
            if yes:
                move = f"{who}: migrate_pages from node {source} to node {target}, step by step"
                self._action = state_of(self).actions.record(move, "", "begun; it is no job, so undo does not know it")
                self._migrate(target)

        self.app.push_screen(
            Question(
                f"Move all memory of {who} from node {source} to node {target}?",
                ["migrate_pages moves all of it, not this page alone; Enter and Space then go on step by step",
                 "it is no job: undo does not take it back"],
                "Migrate",
            ),
            confirmed,
        )  # fmt: skip

    @work(thread=True, group="follow", exit_on_error=False)
    def _migrate(self, target: int) -> None:
        try:
            self.followed[0].stage.migrate(target)
        except Exception as exc:
            self.post_message(Stepped([], problem_of(exc)))

    def action_leave(self) -> None:
        self.dismiss(None)


def _frame(row: TraceRow, old: bool) -> str:
    frame = row.old if old else row.frame
    return "-" if frame is None else f"{frame.pfn}@{frame.node}"


_COLUMNS: list[Column[_Numbered]] = [
    Column("time", "TIME", 10, lambda one, _: f"{one.row.time:.6f}", "right"),
    Column("step", "STEP", 12, lambda one, _: one.row.step, most=24),
    Column("frame", "FRAME@N", 9, lambda one, _: _frame(one.row, False), most=12, rank=1),
    Column("refs", "REF", 3, lambda one, _: str(one.row.frame.refcount) if one.row.frame else "-", "right", rank=3),
    Column("old", "OLD@N", 8, lambda one, _: _frame(one.row, True), most=12, rank=4),
    Column("pte", "PTE", 8, lambda one, _: one.row.pte, most=36, rank=2),
    Column("slot", "SLOT", 6, lambda one, _: f"{one.row.slot[0]} x{one.row.slot[1]}" if one.row.slot else "-", rank=3),
    Column("who", "WHO", 10, lambda one, _: printable(one.row.who, 40), most=24, rank=5),
]  # fmt: skip
