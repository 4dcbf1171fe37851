"""Help, built from the active keys of the screen below."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import Vertical, VerticalScroll
from textual.keys import format_key
from textual.screen import ModalScreen
from textual.widgets import Static

from numatui.tui.keys import bindings
from numatui.tui.paint.paint import Paint, Piece

_NAMES = {
    "escape": "Esc",
    "space": "Space",
    "enter": "Enter",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "tab": "Tab",
    "shift+f3": "Shift-F3",
    "f15": " ",  # Shift-F3 in most terminals (ESC[1;2R, Textual's _ansi_sequences.py); shown as Shift-F3 only
}


_MOVING = ("move(", "page(", "jump(", "scroll_columns(")
_WIDE = 92
"""Cells from which the keys stand in two columns."""


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below. `about`: that screen's `READING`, pairs of a term and its meaning."""

    BINDINGS: ClassVar = bindings("help")

    def __init__(self, bindings: Sequence[ActiveBinding], about: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.bindings, self.about = bindings, about

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll():
                yield Static(id="keys", markup=False)
            yield Static("Esc closes, arrows scroll", markup=False, classes="hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def on_resize(self) -> None:
        width = min(self.size.width * 9 // 10, 120) - 8
        self.query_one("#keys", Static).update(Paint.of(self.app).text(self._pieces(width)))

    def _pieces(self, width: int) -> list[Piece]:
        keys = key_lines(self.bindings)
        columns = 2 if width >= _WIDE else 1
        pieces: list[Piece] = [("Keys\n", "bold")]
        height = -(-len(keys) // columns)
        each = width // columns
        for line in range(height):
            for names, text in keys[line::height]:
                pieces += [(f"{names:>13}", "key"), (f"  {text}"[: each - 14].ljust(each - 13), "")]
            pieces.append(("\n", ""))
        if self.about:
            pieces.append(("\nOn this screen\n", "bold"))
        for what, meaning in self.about:
            for number, part in enumerate(wrap(meaning, max(20, width - 16)) or [""]):
                pieces += [((what if not number else "").rjust(13), "key"), (f"  {part}\n", "")]
        return pieces

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)


def _hidden(binding: Binding) -> bool:
    """Whether Textual itself adds this binding to every screen or scrolling widget."""
    return binding.action.startswith(("scroll_", "page_", "app.copy", "screen.copy", "app.focus", "app.help_quit"))


def key_lines(bindings: Sequence[ActiveBinding]) -> list[tuple[str, str]]:
    """(keys, description) per line, in the order of declaration. Keys with the same description share a line; keys that
    move the cursor come last."""
    found: dict[str, list[str]] = {}
    moving: set[str] = set()
    for active in bindings:
        binding = active.binding
        if binding.description and active.enabled and not binding.system and not _hidden(binding):
            name = _NAMES.get(binding.key) or format_key(binding.key)
            name = name.upper() if name[:1] == "f" and name[1:].isdigit() else name
            name = name.replace("ctrl+", "^")
            if binding.action.startswith(_MOVING):
                moving.add(binding.description)
            if name.strip() and name not in found.setdefault(binding.description, []):
                found[binding.description].append(name)
    lines = [
        (" ".join(keys) if len(keys) < 6 else f"{keys[0]} to {keys[-1]}", description)
        for description, keys in found.items()
    ]
    return [line for line in lines if line[1] not in moving] + [line for line in lines if line[1] in moving]
