"""The table of what each host would do, does, or has done."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.message import Message

from backend.files.text import printable
from backend.fleet.move import ways
from backend.fleet.reach import Answer
from backend.plan.plan import Plan
from numatui.format import duration, size
from numatui.tui.keys import bindings
from numatui.tui.paint.column import Cell, Column
from numatui.tui.widgets.table import Table


@dataclass(frozen=True, slots=True)
class PlanRow:
    """`state`: what it does now or has done, and the role that it is drawn in."""

    host: str
    plan: Plan | None = None
    state: tuple[str, str] = ("asking …", "dim")


class PlanTable(Table[PlanRow]):
    BINDINGS: ClassVar = bindings("fleet-plans")

    class Moved(Message):
        """Another row is under the cursor."""

    def key_of(self, row: PlanRow) -> Hashable:
        return row.host

    def _go(self, index: int) -> None:
        super()._go(index)
        self.post_message(self.Moved())


def end_of(one: Answer[Any]) -> tuple[str, str]:
    if one.error is not None:
        return printable(str(one.error), 300), "far"
    if one.value is None:
        return "nothing was left to do", "dim"
    outcome = one.value.outcome
    left = sum(outcome.left.values())
    stays = f", {size(left)} stay" if left else ""
    errors = "".join(f"; {error}" for error in outcome.errors)
    amount = size(outcome.moved) if outcome.moved else "nothing"
    text = printable(f"{amount} moved{stays}, job {outcome.job}{errors}", 300)
    if one.value.code:
        return ("cancelled: " if outcome.cancelled else "in part: ") + text, "warn"
    return "done: " + text, "good"


def _room(row: PlanRow, _: int) -> Cell:
    if row.plan is None:
        return "", ""
    return "enough" if all(room.enough for room in row.plan.room) else ("short", "far")


COLUMNS: list[Column[PlanRow]] = [
    Column("host", "HOST", 12, lambda row, width: (printable(row.host, width), "bold"), most=32),
    Column("processes", "PROCS", 5, lambda row, _: str(len(row.plan.processes)) if row.plan else "", "right", rank=2),
    Column(
        "moves", "MOVES", 8, lambda row, width: printable(ways(row.plan), width) if row.plan else "", rank=1, most=20
    ),
    Column("size", "SIZE", 6, lambda row, _: size(row.plan.bytes) if row.plan else "", "right"),
    Column("time", "TIME", 7, lambda row, _: duration(row.plan.seconds) if row.plan else "", "right", rank=1),
    Column("room", "ROOM", 6, _room, rank=1),
    Column("state", "STATE", 16, lambda row, width: (printable(row.state[0], width), row.state[1]), spare=True),
]
