"""Help, made from the keys that work where it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from numatui.tui.glyphs import glyphs
from numatui.tui.paint import Paint, Piece

_NAMES = {
    "greater_than_sign": ">", "less_than_sign": "<", "slash": "/", "question_mark": "?", "plus": "+", "minus": "-",
    "right_square_bracket": "]", "left_square_bracket": "[", "backslash": "\\", "escape": "Esc", "space": "Space",
    "enter": "Enter", "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End", "up": "Up", "down": "Down", "left": "Left", "right": "Right", "tab": "Tab",
}  # fmt: skip


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below, and how to read it."""

    BINDINGS: ClassVar = [Binding("escape,q,question_mark,f1,enter", "dismiss", "Close")]

    def __init__(self, bindings: Sequence[ActiveBinding]) -> None:
        super().__init__()
        self.bindings = bindings

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Reading the table, and the keys that work here", markup=False, classes="heading")
            with VerticalScroll():
                yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        paint, marks = Paint.of(self.app), glyphs()
        pieces: list[Piece] = [
            ("           CPU@N", "key"), ("  the CPU a process last ran on, and the node of that CPU\n", ""),
            ("           LOCAL", "key"), ("  the share of its memory on that node; ", ""), ("!", "far"), (" marks less than half\n", ""),
            ("       PLACEMENT", "key"), ("  where its memory lies: each segment begins with its node's number,\n", ""),
            (" " * 18 + f"{marks.here * 3} runs through the one where the process runs\n\n", ""),
        ]  # fmt: skip
        for keys, description in key_lines(self.bindings):
            pieces += [(f"{keys:>16}", "key"), (f"  {description}\n", "")]
        self.query_one("#keys", Static).update(paint.text(pieces))
        self.query_one(VerticalScroll).focus()

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)


def _hidden(binding: Binding) -> bool:
    """What Textual brings along for every screen and scrolling widget."""
    return binding.action.startswith(
        ("scroll_", "page_", "app.copy", "screen.copy", "app.focus", "app.help_quit")
    )


def key_lines(bindings: Sequence[ActiveBinding]) -> list[tuple[str, str]]:
    """(keys, what they do), those that do the same on one line, in the order in which they were declared."""
    found: dict[str, list[str]] = {}
    for active in bindings:
        binding = active.binding
        if binding.description and active.enabled and not binding.system and not _hidden(binding):
            name = _NAMES.get(binding.key, binding.key)
            name = name.upper() if name[:1] == "f" and name[1:].isdigit() else name
            name = name.replace("ctrl+", "^")
            if name not in found.setdefault(binding.description, []):
                found[binding.description].append(name)
    return [
        (" ".join(keys) if len(keys) < 6 else f"{keys[0]} to {keys[-1]}", description)
        for description, keys in found.items()
    ]
