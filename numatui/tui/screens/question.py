"""A question with two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from numatui.tui.keys import key


class Question(ModalScreen[bool]):
    """Answers True or False; Enter alone says no. `lines` may hold text from outside."""

    BINDINGS: ClassVar = [
        key("y", "answer(True)", "Yes", show=True),
        key("n,escape,q", "answer(False)", "No", show=True),
        key("left,right", "app.focus_next", "Other answer"),
    ]

    def __init__(self, title: str, lines: Sequence[str], yes: str) -> None:
        super().__init__()
        self.heading, self.lines, self.yes = title, lines, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, markup=False, classes="heading")
            with VerticalScroll(can_focus=False):
                yield Static("\n".join(self.lines), markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self.yes + " (y)", variant="primary", id="yes", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
