"""Help: the signs of the screen below, and its active keys by task; `/` searches."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import Vertical, VerticalScroll
from textual.keys import format_key
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from numatui.tui.keys import bindings
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.widgets.short_input import ShortInput

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


_WIDE = 92
"""Cells from which the keys stand in two columns."""
TASKS: dict[str, tuple[str, ...]] = {
    "Move memory": (
        "migrate", "migrate_vma", "start", "do_all", "toggle", "side", "digit", "presets", "edit('from')", "edit('to')",
        "swap", "how", "tag", "tag_all", "untag", "set_mems", "attach", "apply", "hold", "cancel", "undo", "declined",
    ),
    "Processes": ("kill", "renice"),
    "Find": ("edit", "edited", "search", "user", "follow", "clear", "running"),
    "Order and show": (
        "choose_sort", "choose_columns", "sort_next", "sort", "invert", "order", "tree", "group", "fold", "small",
        "panel", "detail", "bars", "kernel_threads", "empty", "history", "other_pane", "measured", "zoom", "node",
    ),
    "Other screens": (
        "open", "jobs", "advice", "nodes", "cgroups", "log", "sharers", "compare", "microscope", "tour", "scenarios",
        "try_copy",
    ),
    "Time": ("pause", "reread", "refresh", "on", "step", "run", "pace", "speed", "seek"),
    "The cursor": ("move", "page", "jump", "scroll_columns", "focus_next"),
    "Else": ("help", "command_palette", "copy", "suspend_process", "leave", "quit"),
}  # fmt: skip
"""Actions by what a user wants to do. Others belong to `_USUAL`."""
_USUAL = "Order and show"


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below, by task. `about`: that screen's `READING`, pairs of a term and its meaning."""

    BINDINGS: ClassVar = bindings("help")

    def __init__(self, bindings: Sequence[ActiveBinding], about: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.bindings, self.about = bindings, about
        self.wanted = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield ShortInput(id="sought", compact=True, max_length=40, placeholder="part of a key or of what it does")
            with VerticalScroll():
                yield Static(id="keys", markup=False)
            yield Static("/ searches, arrows scroll, Esc closes", markup=False, classes="hint")

    def on_mount(self) -> None:
        self._end_search()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        width = min(self.size.width * 9 // 10, 120) - 8
        self.query_one("#keys", Static).update(Paint.of(self.app).text(self._pieces(width)))

    def _fits(self, *texts: str) -> bool:
        return any(self.wanted in text.casefold() for text in texts)

    def _pieces(self, width: int) -> list[Piece]:
        """Signs first, then the keys. Nothing is cut: what is longer than a column goes on in the next line."""
        pieces: list[Piece] = []
        about = [one for one in self.about if self._fits(*one)]
        if about:
            pieces.append(("Signs on this screen\n", "bold"))
        for what, meaning in about:
            pieces += [*_entry(what, meaning, width), ("\n", "")]
        for task, lines in key_lines(self.bindings).items():
            if shown := [line for line in lines if self._fits(*line, task)]:
                pieces += [(("\n" if pieces else "") + task + "\n", "bold"), *_columns(shown, width)]
        return pieces or [("no key fits", "dim")]

    def on_input_changed(self, event: Input.Changed) -> None:
        self.wanted = event.value.strip().casefold()
        self._show()

    def on_input_submitted(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_search(self) -> None:
        self.query_one(Input).display = True
        self.query_one(Input).focus()

    def _end_search(self) -> None:
        self.query_one(Input).value = ""
        self.query_one(Input).display = False
        self.query_one(VerticalScroll).focus()

    def action_leave(self) -> None:
        if self.query_one(Input).display:
            self._end_search()
        else:
            self.dismiss(None)


def _columns(lines: Sequence[tuple[str, str]], width: int) -> list[Piece]:
    """Keys and what they do, in two columns where all of it has room."""
    each = width // 2
    if width < _WIDE or any(len(names) > 13 or len(text) > each - 16 for names, text in lines):
        return [piece for names, text in lines for piece in (*_entry(names, text, width), ("\n", ""))]
    height = -(-len(lines) // 2)
    pieces: list[Piece] = []
    for at in range(height):
        for names, text in lines[at::height]:
            pieces += [(f"{names:>13}", "key"), (f"  {text}".ljust(each - 13), "")]
        pieces.append(("\n", ""))
    return pieces


def _entry(what: str, meaning: str, width: int) -> list[Piece]:
    """A term and its meaning, in as many lines as it takes."""
    pieces: list[Piece] = []
    for number, part in enumerate(wrap(meaning, max(20, width - 16)) or [""]):
        pieces += [(("\n" if number else "") + ("" if number else what).rjust(13), "key"), (f"  {part}", "")]
    return pieces


def _hidden(binding: Binding) -> bool:
    """Whether Textual itself adds this binding to every screen or scrolling widget."""
    return binding.action.startswith(("scroll_", "page_", "app.copy", "screen.copy", "app.focus", "app.help_quit"))


def key_lines(bindings: Sequence[ActiveBinding]) -> dict[str, list[tuple[str, str]]]:
    """Task → (keys, description) per line, in the order of declaration. Keys with the same description share a line."""
    found: dict[str, dict[str, list[str]]] = {task: {} for task in TASKS}
    for active in bindings:
        binding = active.binding
        if binding.description and active.enabled and not binding.system and not _hidden(binding):
            name = _NAMES.get(binding.key) or format_key(binding.key)
            name = name.upper() if name[:1] == "f" and name[1:].isdigit() else name
            name = name.replace("ctrl+", "^")
            names = found[_task(binding.action)].setdefault(binding.description, [])
            if name.strip() and name not in names:
                names.append(name)
    return {
        task: [
            (" ".join(keys) if len(keys) < 6 else f"{keys[0]} to {keys[-1]}", description)
            for description, keys in lines.items()
        ]
        for task, lines in found.items()
    }


def _task(action: str) -> str:
    whole = action.rpartition("app.")[2]
    plain = whole.partition("(")[0]
    return next((task for task, actions in TASKS.items() if whole in actions or plain in actions), _USUAL)
