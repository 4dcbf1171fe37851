"""Several processes moved at once, each to nodes of its own: planned in a thread, shown as a whole, asked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from textual import work
from textual.screen import Screen

from backend.files.text import printable
from backend.job.together import Together
from backend.plan.plan import Plan
from numatui.format import BASIS, duration, percent, size
from numatui.tui.model.groups import overall_local
from numatui.tui.model.move_options import MoveOptions
from numatui.tui.paint.column import pad
from numatui.tui.reading.reader import Snapshot, problem_of
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.state.state import state_of

_NAMED = 12
"""Processes that the question names; of more it gives the number."""


class TogetherScreen(Screen[None]):
    """Adds `ask_together`."""

    _planning = False

    def ask_together(self, make: Callable[[], Together], command: str) -> None:
        """`make`: reads and plans, in a thread. `command`: shell commands with the same effect."""
        state = state_of(self)
        if not state.kernel.traits.writable:
            state.tell("A recording can be looked at but not changed.", title="Nothing was moved", severity="warning")
        elif not self._planning:
            self._planning = True
            self._plan_together(make, command)

    @work(thread=True, group="together", exit_on_error=False)
    def _plan_together(self, make: Callable[[], Together], command: str) -> None:
        state = state_of(self)
        try:
            made = make()
        except Exception as exc:
            self.app.call_from_thread(state.tell, problem_of(exc), severity="error")
        else:
            self.app.call_from_thread(self._planned, made, command)
        finally:
            self._planning = False

    def _planned(self, made: Together, command: str) -> None:
        state, plan = state_of(self), made.plan
        if not self.is_current:
            return
        if plan is None:
            why = made.left_out[0] if made.left_out else "all of it is where it should be"
            state.tell(f"There is nothing to move: {why}", severity="warning")
            return
        many = len(plan.asked) > 1
        title = f"Move {size(plan.bytes)} of {len(plan.asked)} processes while they run?" if many else (
            f"Move {size(plan.bytes)} while the process runs?"
        )  # fmt: skip
        lines = [total_line(plan, state.snapshot), "", *_part_lines(plan)]
        lines += ["", *(f"left out: {printable(one, 200)}" for one in made.left_out)] if made.left_out else []
        lines += [f"! {printable(one.text, 200)}" for one in plan.warnings]

        def confirmed(yes: bool | None) -> None:
            if yes:
                state.show_job(state.start_job(plan, MoveOptions(), command))

        self.app.push_screen(Question(title, lines, "Migrate", command, undoable=True), confirmed)


def total_line(plan: Plan, snapshot: Snapshot | None) -> str:
    """`local 45% → 93% of all memory, 2.1G, about 3.0 s, longest wait 10 ms (assumed)`."""
    told = [size(plan.bytes), f"about {duration(plan.seconds)}"]
    told.append(f"longest wait {duration(plan.stall)} ({BASIS[plan.rate_basis]})")
    if snapshot is not None:
        after = {one.process.identity: one.after for one in plan.processes}
        rows = [
            replace(row, by_node=after[row.process.identity]) if row.process.identity in after else row
            for row in snapshot.rows
        ]
        told.insert(0, f"local {percent(snapshot.local)} → {percent(overall_local(rows))} of all memory")
    return ", ".join(told)


def _part_lines(plan: Plan) -> list[str]:
    parts = sorted(plan.asked, key=lambda one: -one.bytes)
    lines: list[str] = []
    for one in parts[:_NAMED]:
        moves = ", ".join(f"{move.source}→{move.target} {size(move.bytes)}" for move in one.moves[:4])
        more = f" and {len(one.moves) - 4} more" if len(one.moves) > 4 else ""
        lines.append(f"{one.process.pid:>7} {pad(printable(one.process.command, 31), 30, 'left')}  {moves}{more}")
    if len(parts) > _NAMED:
        lines.append(f"        and {len(parts) - _NAMED} more, {size(sum(one.bytes for one in parts[_NAMED:]))}")
    return lines
