"""The keys at the bottom. The help key is always visible, on the right. While a filter is typed, other keys are only
letters, so only the keys that end typing are shown."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer, Input
from textual.widgets._footer import FooterKey  # private in Textual 8.2, which exports only Footer

from numatui.tui.state.closed_watchers import forget_closed


class KeyFooter(Footer):
    """Textual's footer without the key of the command palette."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        forget_closed(self)  # the keys that it showed before
        if isinstance(self.screen.focused, Input):
            leave = "Clear it" if self.screen.focused.id == "filter" else "Leave the field"
            for key, display, text in (("enter", "Enter", "Done"), ("escape", "Esc", leave)):
                yield FooterKey(key, display, text, "").data_bind(compact=Footer.compact)
            return
        keys = list(super().compose())
        for one in keys:
            if isinstance(one, FooterKey) and one.action.endswith("help"):
                one.add_class("-help")
        self._fit(keys)
        yield from keys

    def on_resize(self) -> None:
        self._fit(self.children)

    def _fit(self, widgets: Iterable[Widget]) -> None:
        """Hides the keys that would be cut off, or lie below the help key."""
        keys = [one for one in widgets if isinstance(one, FooterKey)]
        room = self.app.size.width - sum(_cells(key) for key in keys if key.has_class("-help"))
        for key in keys:
            if not key.has_class("-help"):
                room -= _cells(key)
                key.visible = room >= 0


def _cells(key: FooterKey) -> int:
    """How wide the key is drawn: a blank on both sides of it, and one after its text (FooterKey.DEFAULT_CSS)."""
    return cell_len(key.key_display) + cell_len(key.description) + 3
