"""Signals and nice values, as in htop: F7, F8, F9. For screens that show processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from textual import work
from textual.screen import Screen

from backend.errors import NumatuiError
from backend.files.text import printable
from backend.process.control import SIGNALS, renice, send_signal
from backend.process.process import Process
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.chooser import Chooser
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.state.state import state_of

if TYPE_CHECKING:
    from textual.dom import DOMNode

_NAMED = 8
"""Processes that a question names; of more it gives the number."""
T = TypeVar("T")


class ProcessControl(Screen[None]):
    """Adds the actions `kill` and `renice` for the processes that `controlled` gives."""

    def controlled(self) -> list[Process]:
        """The processes that are meant now."""
        raise NotImplementedError

    def action_kill(self) -> None:
        """Lets the user choose a signal, then asks: what has ended does not come back."""
        some = self.controlled()
        if not some:
            state_of(self).tell("no process to send a signal to", severity="warning")
            return
        choices = [(str(int(one)), f"{int(one):>3} {one.name:<10} {signal.strsignal(one) or ''}") for one in SIGNALS]
        heading = f"Signal for {some[0].pid} {printable(some[0].command, 40)}" if len(some) == 1 else (
            f"Signal for {len(some)} processes"
        )  # fmt: skip
        self.app.push_screen(Chooser(heading, choices, str(int(signal.SIGTERM))), partial(self._ask, some))

    def _ask(self, some: Sequence[Process], chosen: str | None) -> None:
        if chosen is None:
            return
        number = signal.Signals(int(chosen))
        lines = [f"{one.pid:>7} {printable(one.user, 16)}  {printable(one.command, 60)}" for one in some[:_NAMED]]
        if len(some) > _NAMED:
            lines.append(f"  and {len(some) - _NAMED} more")
        command = f"kill -{number.name.removeprefix('SIG')} {' '.join(str(one.pid) for one in some)}"
        question = Question(
            f"Send {number.name} to {_who(some)}?", lines, f"Send {number.name}", _of_host(self, command)
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._send(some, number, command)

        self.app.push_screen(question, answered)

    @work(thread=True, group="control", exit_on_error=False)
    def _send(self, some: Sequence[Process], number: signal.Signals, command: str) -> None:
        state = state_of(self)
        sent, problems = _each(some, lambda one: send_signal(state.kernel, one.identity, number))
        done = f"{number.name} was sent to {_who([one for one, _ in sent])}" if sent else ""
        self.app.call_from_thread(self._told, f"{number.name} for {_who(some)}", command, done, problems)

    def action_renice(self, change: int) -> None:
        some = self.controlled()
        if some:
            self._renice(some, change)
        else:
            state_of(self).tell("no process to renice", severity="warning")

    @work(thread=True, group="control", exit_on_error=False)
    def _renice(self, some: Sequence[Process], change: int) -> None:
        state = state_of(self)
        changed, problems = _each(some, lambda one: renice(state.kernel, one.identity, change))
        told = [f"{one.pid}: nice {new.before} to {new.after}" for one, new in changed[:3]]
        if len(changed) > len(told):
            told.append(f"and {len(changed) - len(told)} more")
        problems += [f"{new.refused} threads of process {one.pid} kept theirs" for one, new in changed if new.refused]
        pids = " ".join(str(one.pid) for one in some)
        # renice(1) of a process reaches its first thread only, so that no command is the same.
        self.app.call_from_thread(self._told, f"renice {change:+} for {pids}", "", ", ".join(told), problems)

    def _told(self, title: str, command: str, done: str, problems: Sequence[str]) -> None:
        """Says what was done, keeps it in the log, and reads again."""
        state = state_of(self)
        state.actions.record(title, _of_host(self, command), "; ".join([*([done] if done else []), *problems]))
        if done:
            state.tell(done)
        for problem in problems[:3]:
            state.tell(problem, severity="error")
        state.read_now(anew=True)


def _each(some: Sequence[Process], act: Callable[[Process], T]) -> tuple[list[tuple[Process, T]], list[str]]:
    """What came out for each process, and what went wrong with the others, in one line each."""
    done: list[tuple[Process, T]] = []
    problems: list[str] = []
    for one in some:
        try:
            done.append((one, act(one)))
        except (NumatuiError, OSError) as exc:
            problems.append(problem_of(exc))
    return done, problems


def _who(some: Sequence[Process]) -> str:
    return f"process {some[0].pid}" if len(some) == 1 else f"{len(some)} processes"


def _of_host(node: DOMNode, command: str) -> str:
    """The command, where a shell on this machine would do the same."""
    return command if state_of(node).kernel.traits.is_host else ""
