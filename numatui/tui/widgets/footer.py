"""The keys at the bottom. The help key is always visible, on the right. While a filter is typed, other keys are only
letters, so only the keys that end typing are shown."""

from __future__ import annotations

from textual.app import ComposeResult
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
        for one in super().compose():
            if isinstance(one, FooterKey) and one.action.endswith("help"):
                one.add_class("-help")
            yield one
        self.call_after_refresh(self._fit)

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Hides the keys that would be cut off, or lie below the help key."""
        keys = list(self.query(FooterKey))
        room = self.size.width - sum(key.outer_size.width for key in keys if key.has_class("-help"))
        taken = 0
        for key in keys:
            if not key.has_class("-help"):
                taken += key.outer_size.width
                key.visible = taken <= room
