"""Dialog for changes of a cpuset: a prediction, the change, then the result as read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from backend.cgroup.cpuset_tree import CpusetInfo
from backend.cpuset.change import Change, ChangeResult, apply, predict_attach, predict_mems
from backend.errors import NotFound, NumatuiError
from backend.files.shell_word import shell_word
from backend.files.text import printable
from backend.nodeset import NodeSet
from backend.process.process import Process, still_the_same
from numatui.format import size
from numatui.shell import program
from numatui.tui.keys import bindings
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.reader import problem_of
from numatui.tui.state.state import state_of
from numatui.tui.widgets.short_input import ShortInput

_MOST_BUTTONS = 16  # on larger machines nodes are only typed: the buttons would need more than one line


@dataclass
class PredictionRead(Message):
    """The predicted change, or the error."""

    change: Change | None
    problem: str = ""


@dataclass
class Done(Message):
    """The result of the change, or the error."""

    result: ChangeResult | None
    problem: str = ""


class CpusetChangeScreen(ModalScreen[bool]):
    """Sets the mems of a cpuset, or attaches `processes` to it. Returns whether anything was changed."""

    BINDINGS: ClassVar = bindings("cpuset-change")

    def __init__(self, path: str, cpuset: CpusetInfo | None, processes: Sequence[Process] = ()) -> None:
        super().__init__()
        self.path, self.cpuset, self.processes = path, cpuset, list(processes)
        self.change: Change | None = None
        self.changed = False
        self._applying = False

    def compose(self) -> ComposeResult:
        what = f"{len(self.processes)} processes into" if self.processes else "Nodes of"
        with Vertical(classes="dialog"):
            yield Static(f"{what} {printable(self.path, 200)}", markup=False, classes="heading")
            if not self.processes:
                nodes = list(state_of(self).snapshot.topology.memory_ids)
                yield ShortInput(self._mems, id="mems", compact=True, max_length=200, placeholder="nodes, as 0-1,3")
                if len(nodes) <= _MOST_BUTTONS:
                    with Horizontal(classes="buttons"):
                        for node in nodes:
                            yield Button(str(node), id=f"node-{node}", compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(id="plan", markup=False)
            yield Static("Enter does it, Ctrl+Y copies the command, Esc leaves", markup=False, classes="hint")

    @property
    def _mems(self) -> str:
        return str(self.cpuset.mems or self.cpuset.effective_mems) if self.cpuset is not None else ""

    def on_mount(self) -> None:
        if self.processes:
            self._predict("")
        else:
            self.query_one(Input).focus()
            self._predict(self._mems)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._predict(event.value)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Adds a node to the set or removes it."""
        field = self.query_one(Input)
        one = NodeSet([int(str(event.button.id).removeprefix("node-"))])
        try:
            chosen = NodeSet.parse(field.value, state_of(self).snapshot.topology.ids)
        except NumatuiError:
            chosen = NodeSet()
        field.value = str(chosen - one if one.issubset(chosen) else chosen | one)

    @work(thread=True, group="predict", exclusive=True, exit_on_error=False)
    def _predict(self, text: str) -> None:
        state = state_of(self)
        try:
            if self.processes:
                pids = [self._same(one) for one in self.processes]
                change = predict_attach(state.kernel, self.path, pids)
            else:
                wanted = NodeSet.parse(text, state.snapshot.topology.ids)
                change = predict_mems(state.kernel, self.path, wanted)
            self.post_message(PredictionRead(change))
        except Exception as exc:
            self.post_message(PredictionRead(None, problem_of(exc)))

    def _same(self, process: Process) -> int:
        """The pid. Raises NotFound if the process has ended, even if its pid is in use again."""
        still_the_same(state_of(self).kernel, process.identity)
        return process.pid

    def on_prediction_read(self, event: PredictionRead) -> None:
        self.change = event.change
        pieces = [(printable(event.problem, 400), "warn")] if event.change is None else predicted(event.change)
        if self.change is not None:
            pieces += [("\n\n" + self._command(self.change), "accent")]
        self._plan(pieces)

    def _plan(self, pieces: list[Piece]) -> None:
        self.query_one("#plan", Static).update(Paint.of(self.app).text(pieces))

    def _command(self, change: Change) -> str:
        start = program(state_of(self).kernel)
        path = shell_word(self.path)
        if change.mems is None:
            return f"{start} cpuset attach {path} {' '.join(str(one.pid) for one in self.processes)}"
        return f"{start} cpuset set-mems {path} {shell_word(str(change.mems))}"

    def action_copy(self) -> None:
        if self.change is not None:
            state_of(self).copy(self._command(self.change))

    def action_apply(self) -> None:
        """Applies the change, once. Enter on a button presses the button: this binding has priority over it."""
        if isinstance(self.focused, Button):
            self.focused.press()
        elif self.changed:
            self.dismiss(True)
        elif self.change is not None and not self._applying:
            self._applying = True
            self._apply(self.change)

    @work(thread=True, group="apply", exit_on_error=False)
    def _apply(self, change: Change) -> None:
        state = state_of(self)
        try:
            for one in self.processes:
                self._same(one)
            self.post_message(Done(apply(state.kernel, change)))
        except NotFound as exc:
            self.post_message(Done(None, str(exc)))
        except Exception as exc:
            self.post_message(Done(None, problem_of(exc)))

    def on_done(self, event: Done) -> None:
        self._applying = False
        title = f"cpuset {printable(self.path, 80)}"
        command = self._command(self.change) if self.change is not None else ""
        if event.result is None:
            state_of(self).actions.record(title, command, event.problem)
            self._plan([(printable(event.problem, 400), "far")])
            return
        self.changed = True
        text = "".join(part for part, _ in became(event.result))
        state_of(self).actions.record(title, command, text.partition("\n")[0])
        self._plan([*became(event.result), ("\n\nEnter or Esc closes", "dim")])

    def action_leave(self) -> None:
        self.dismiss(self.changed)


def predicted(change: Change) -> list[Piece]:
    """The predicted effect of a change, by process."""
    effective = f"nodes in effect: {change.effective or 'none'}"
    pieces: list[Piece] = [
        (effective, "bold"),
        (f", up to {size(change.bytes)} move\n" if change.bytes else ", nothing moves\n", ""),
    ]
    for one in change.processes[:50]:
        ways = ", ".join(f"{a}→{b} {size(amount)}" for (a, b), amount in one.ways.items())
        told = "may not be looked at" if one.before is None else ways or "nothing moves"
        pieces += [
            (f"{one.process.pid:>8} ", "bold"),
            (f"{printable(one.process.command, 40):<40} ", ""),
            (f"{one.old}→{one.new}  {told}\n", "dim"),
        ]
    if len(change.processes) > 50:
        pieces.append((f"         and {len(change.processes) - 50} more\n", "dim"))
    for note in change.notes:
        pieces.append((f"! {printable(note, 300)}\n", "warn"))
    return pieces


def became(result: ChangeResult) -> list[Piece]:
    """The placement read after the change, by process."""
    pieces: list[Piece] = [
        (f"nodes in effect now: {result.effective or 'none'}\n", "good" if result.complete else "warn")
    ]
    for one in result.processes[:50]:
        before, after = one.predicted.before or {}, one.after or {}
        ways = "  ".join(
            f"{node}: {size(before.get(node, 0))} → {size(after.get(node, 0))}" for node in NodeSet([*before, *after])
        )
        pieces += [
            (f"{one.predicted.process.pid:>8} ", "bold"),
            (f"{printable(one.error, 300) or ways}\n", "far" if one.error else ""),
        ]
        if one.left:
            pieces.append(
                (
                    f"         {size(sum(one.left.values()))} left on node {NodeSet(one.left)}: busy, unmovable, or "
                    "no room\n",
                    "warn",
                )
            )
    pieces += [(f"! {printable(str(one), 300)}\n", "far") for one in result.errors]
    return pieces
