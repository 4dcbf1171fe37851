"""Advice: which processes should be moved where, the gain, and why others should not."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from backend.advice.advice import Advice
from backend.advice.applying import plan_of
from backend.advice.gathering import Adviser
from backend.advice.reasons import summary_of
from backend.files.text import printable
from backend.job.together import plan_together
from backend.kernel import Kernel
from backend.process.process import Identity
from numatui.format import BASIS, duration, size
from numatui.shell import advised_command
from numatui.tui.keys import bindings
from numatui.tui.paint import bars
from numatui.tui.paint.column import Column
from numatui.tui.paint.glyphs import glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.paint.why_not import WHY_NOT
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.together import TogetherScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.header import Header
from numatui.tui.widgets.table import Table

_ROLES = {"high": "good", "medium": "warn", "low": "far"}


@dataclass
class Advised(Message):
    """Advice for each process."""

    items: list[Advice]


class AdviceTable(Table[Advice]):
    """Posts `Moved` when the cursor has moved to another line."""

    BINDINGS: ClassVar = bindings("advice-table")

    class Moved(Message):
        """The cursor has moved."""

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())

    def key_of(self, row: Advice) -> Hashable:
        return row.process.identity


class AdviceScreen(TogetherScreen):
    """Computes advice after every reading of the app, in a thread: it reads the mappings of the candidates."""

    BINDINGS: ClassVar = bindings("advice")
    READING: ClassVar = (
        ("GAIN", "how many times less an access costs on average, if the process uses all its memory alike"),
        ("PAYS IN", "after so long the time that moving takes has been won back at the earliest"),
        ("SURE", "high, medium, low: what lessens it stands below"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Advice] = []
        self.tagged: set[Identity] = set()
        self.with_declined = False
        self._adviser: Adviser | None = None
        self._busy = False
        self._done = False

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="state", markup=False)
        yield AdviceTable(id="table")
        with VerticalScroll(can_focus=False, id="below"):
            yield Static(id="detail", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(AdviceTable).focus()
        self.watch(self.app, "snapshot", self._snapshot)

    def on_resize(self) -> None:
        self._show()

    def _snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and not self._busy:
            self._busy = True
            self._advise(snapshot)

    @work(thread=True, group="advice", exit_on_error=False)
    def _advise(self, snapshot: Snapshot) -> None:
        state = state_of(self)
        try:
            self._adviser = self._adviser or Adviser(state.kernel)
            self.post_message(Advised(self._adviser.advise(snapshot.observations, snapshot.topology)))
        except Exception as exc:
            self._busy = False
            self.app.call_from_thread(state.tell, problem_of(exc), severity="error")

    def on_advised(self, event: Advised) -> None:
        self._busy, self._done = False, True
        self.items = sorted(event.items, key=lambda one: -worth(one))
        self.tagged &= {one.process.identity for one in self.items if one.proposal is not None}
        self._show()

    def _show(self) -> None:
        advised = [one for one in self.items if one.proposal is not None]
        shown = self.items if self.with_declined else advised
        table = self.query_one(AdviceTable)
        table.empty = "  nothing to move (A says why not)" if self._done else "  looking …"
        table.show(shown, advice_columns(self.tagged, self.app.no_color, self.with_declined))
        table.styles.height = max(4, min(len(shown) + 2, self.size.height // 2))
        self.query_one("#state", Static).update(Paint.of(self.app).text(self._state(len(advised))))
        self._show_one()

    def _state(self, advised: int) -> list[Piece]:
        if not self._done:
            return [(" looking at the mappings of those that may be advised …", "dim")]
        young = sum(1 for one in self.items if any(reason.code == "young" for reason in one.reasons))
        pieces: list[Piece] = [
            (f" {advised}", "bold"),
            (f" of {len(self.items)} processes would be faster with their memory moved", ""),
        ]
        meant = self._meant()
        if meant:
            total = size(sum(one.proposal.bytes for one in meant if one.proposal))
            pieces.append((f", {total} together", ""))
        if self.tagged:
            pieces.append((f"  {len(self.tagged)} tagged (D does these)", "tag"))
        if young:
            pieces.append((f"  {young} still watched", "warn"))
        return pieces

    def _show_one(self) -> None:
        row = self.query_one(AdviceTable).current
        pieces = [] if row is None else advice_detail(row, state_of(self).kernel, self.size.width - 2)
        self.query_one("#detail", Static).update(Paint.of(self.app).text(pieces))

    def on_advice_table_moved(self) -> None:
        self._show_one()

    def on_table_opened(self, event: Table.Opened) -> None:
        one: Advice = event.row
        if one.proposal is None:
            state_of(self).tell("Nothing is advised for this one: the reasons stand below.")
        else:
            self.app.push_screen(MigrateScreen([one.process], one.proposal.sources, one.proposal.targets))

    def _meant(self) -> list[Advice]:
        """The tagged proposals; without tags, all."""
        return [
            one for one in self.items
            if one.proposal is not None and (not self.tagged or one.process.identity in self.tagged)
        ]  # fmt: skip

    def action_tag(self) -> None:
        table = self.query_one(AdviceTable)
        row = table.current
        if row is None:
            return
        if row.proposal is None:
            state_of(self).tell("Nothing is advised for this one: the reasons stand below.")
            return
        self.tagged ^= {row.process.identity}
        table.action_move(1)
        self._show()

    def action_do_all(self) -> None:
        """All proposals, or the tagged ones, as one job that one undo takes back."""
        meant, kernel = self._meant(), state_of(self).kernel
        if not meant:
            state_of(self).tell("There is nothing to move." if self._done else "Still looking …")
            return
        commands = " ; ".join(advised_command(kernel, one) for one in meant)
        self.ask_together(lambda: plan_together(kernel, [partial(plan_of, kernel, one) for one in meant]), commands)

    def action_declined(self) -> None:
        self.with_declined = not self.with_declined
        self._show()

    def action_copy(self) -> None:
        row = self.query_one(AdviceTable).current
        if row is not None and (command := advised_command(state_of(self).kernel, row)):
            state_of(self).copy(command)

    def action_leave(self) -> None:
        self.dismiss(None)


def worth(one: Advice) -> float:
    """Bytes that move, times the share of an access's cost that this saves: what matters most has most."""
    return one.proposal.bytes * one.proposal.saved if one.proposal else -1.0


def advice_columns(tagged: Collection[Identity], plain: bool, reasons: bool) -> Sequence[Column[Advice]]:
    """`reasons`: processes without a proposal are shown too, with the reason. Cells read `tagged` when drawn."""
    marks = glyphs()

    def mark(row: Advice, _: int) -> Piece:
        return (marks.mark if row.process.identity in tagged else " ", "tag")

    def bar(row: Advice, width: int) -> list[Piece]:
        here = max(row.places, key=lambda node: row.places[node]) if row.places else None
        return bars.placement(row.by_node, here, width, marks, plain)

    def moves(row: Advice, _: int) -> Piece:
        if row.proposal is None:
            return (WHY_NOT[row.reasons[0].code] if row.reasons else "", "dim")
        return (f"{row.proposal.sources}{marks.arrow}{row.proposal.targets}", "bold")

    def gain(row: Advice, _: int) -> str:
        return f"{row.proposal.ratio:.2f}x" if row.proposal else ""

    def cost(row: Advice, _: int) -> str:
        return duration(row.proposal.seconds) if row.proposal else ""

    def payback(row: Advice, _: int) -> str:
        value = row.proposal.payback if row.proposal else None
        return "" if value is None else duration(value)

    def sure(row: Advice, _: int) -> Piece:
        return (row.proposal.confidence, _ROLES[row.proposal.confidence]) if row.proposal else ("", "")

    return [
        Column("mark", "", 1, mark),
        Column("pid", "PID", 7, lambda row, _: str(row.process.pid), "right"),
        Column("user", "USER", 8, lambda row, width: printable(row.process.user, width + 1), rank=4),
        Column("command", "COMMAND", 14, lambda row, width: printable(row.process.command, width + 1), most=40),
        Column("moves", "MOVE OR WHY NOT" if reasons else "MOVE", 15 if reasons else 8, moves),
        Column("size", "SIZE", 5, lambda row, _: size(row.proposal.bytes if row.proposal else row.far), "right"),
        Column("gain", "GAIN", 6, gain, "right"),
        Column("time", "TIME", 7, cost, "right", rank=1),
        Column("payback", "PAYS IN", 7, payback, "right", rank=2),
        Column("sure", "SURE", 6, sure, rank=1),
        Column("placement", "PLACEMENT", 12, bar, rank=3, most=30),
    ]


def advice_detail(advice: Advice, kernel: Kernel, width: int) -> list[Piece]:
    """Reasons, cost, doubts and command of a proposal; without a proposal, the reasons against one."""
    pieces: list[Piece] = [
        (f"{advice.process.pid} ", "bold"),
        (printable(advice.process.command, max(10, width - 12)) + "\n", ""),
    ]
    one = advice.proposal
    if one is None:
        return pieces + [(f"{printable(reason.text, 400)}\n", "") for reason in advice.reasons]
    pieces += [
        (f"{printable(summary_of(advice), 400)}\n", ""),
        (
            f"moving takes about {duration(one.seconds)} ({BASIS[one.rate_basis]}), it waits {duration(one.stall)} "
            "at a time\n",
            "dim",
        ),
    ]
    for doubt in one.doubts:
        pieces += [("but ", "warn"), (printable(doubt.text, 400) + "\n", "")]
    return [*pieces, ("\n" + printable(advised_command(kernel, advice), 400), "accent")]
