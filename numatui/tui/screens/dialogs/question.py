"""Dialog for a yes-or-no question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from numatui.tui.keys import bindings

_AROUND = 9
"""Lines of the dialog beside its text: border, padding, heading, buttons."""


class Question(ModalScreen[bool]):
    """Returns True or False. Enter alone answers no, or yes where that can be taken back (`undoable`). `lines` may
    contain text from outside. `command`: shell command with the same effect, which can be copied."""

    BINDINGS: ClassVar = bindings("question")
    AUTO_FOCUS: ClassVar[str | None] = None
    """Textual focuses the first button, which is yes, and an Enter that is under way already would press it."""

    def __init__(
        self, title: str, lines: Sequence[str], yes: str, command: str = "", *, undoable: bool = False
    ) -> None:
        super().__init__()
        self.heading, self.lines, self.yes, self.command, self.undoable = title, lines, yes, command, undoable

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, markup=False, classes="heading")
            with VerticalScroll(can_focus=False):
                yield Static("\n".join(self.lines), markup=False)
                if self.command:
                    yield Static("the same from a shell (^y copies it):", markup=False, classes="hint")
                    yield Static("  " + self.command, id="command", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self.yes + " (y)", variant="primary", id="yes", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#yes" if self.undoable else "#no"))

    def on_resize(self, event: events.Resize) -> None:
        """The text scrolls where it is too long: the buttons are always seen."""
        self.query_one(VerticalScroll).styles.max_height = max(1, event.size.height * 9 // 10 - _AROUND)

    def action_scroll(self, step: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=step, animate=False)

    def action_copy(self) -> None:
        if self.command:
            self.app.copy_to_clipboard(self.command)
            self.notify("Copied, if the terminal lets programs do that (OSC 52).", markup=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
