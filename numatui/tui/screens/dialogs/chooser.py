"""Dialogs for the choice of one or several list items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from backend.files.text import printable
from numatui.tui.keys import bindings

Choice = tuple[str, str]
"""(answer, text shown for it). The text may contain names from outside."""


class Chooser(ModalScreen[str]):
    """Returns the chosen answer, or None. `current`: the answer where the cursor begins."""

    BINDINGS: ClassVar = bindings("chooser")

    def __init__(self, title: str, choices: Sequence[Choice], current: str = "") -> None:
        super().__init__()
        self.heading, self.choices, self.current = title, choices, current

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, markup=False, classes="heading")
            yield OptionList(*(Option(Text(printable(text, 120))) for _, text in self.choices), compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        answers = [answer for answer, _ in self.choices]
        options.highlighted = answers.index(self.current) if self.current in answers else 0
        options.focus()

    def on_resize(self) -> None:
        """What is chosen stays in sight: Enter is never for something that is not seen."""
        self.call_after_refresh(self.query_one(OptionList).scroll_to_highlight)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.choices[event.option_index][0])

    def action_leave(self) -> None:
        self.dismiss(None)


class SeveralChooser(ModalScreen[tuple[str, ...]]):
    """Returns the chosen answers in the order of `choices`, or None. `usual`: the choice that `r` restores."""

    BINDINGS: ClassVar = bindings("several-chooser")

    def __init__(self, title: str, choices: Sequence[Choice], chosen: Collection[str], usual: Collection[str]) -> None:
        super().__init__()
        self.heading, self.choices, self.chosen, self.usual = title, choices, set(chosen), usual

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, markup=False, classes="heading")
            yield OptionList(*(Option(self._shown(one)) for one in self.choices), compact=True)
            yield Static(
                "Space chooses, Enter ends, r as at first, Esc leaves all as it is",
                markup=False,
                classes="hint",
            )

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    def _shown(self, choice: Choice) -> Text:
        return Text(f"[{'x' if choice[0] in self.chosen else ' '}] {printable(choice[1], 120)}")

    def _show(self) -> None:
        options = self.query_one(OptionList)
        for index, choice in enumerate(self.choices):
            options.replace_option_prompt_at_index(index, self._shown(choice))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Toggles a choice that was clicked. Enter ends the dialog instead: its binding has priority."""
        self.chosen ^= {self.choices[event.option_index][0]}
        self._show()

    def action_turn(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self.chosen ^= {self.choices[at][0]}
            self._show()

    def action_usual(self) -> None:
        self.chosen = set(self.usual)
        self._show()

    def action_done(self) -> None:
        self.dismiss(tuple(answer for answer, _ in self.choices if answer in self.chosen))

    def action_leave(self) -> None:
        self.dismiss(None)
