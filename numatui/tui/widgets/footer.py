"""The keys at the bottom; the one for help stays in sight on the right, however many there are. While a filter is typed
other keys are only letters: then those that end it are shown."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer, Input
from textual.widgets._footer import FooterKey


class KeyFooter(Footer):
    """Textual's, without its command palette."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        if isinstance(self.screen.focused, Input) and self.screen.focused.id == "filter":
            for key, display, text in (("enter", "Enter", "Done"), ("escape", "Esc", "Clear it")):
                yield FooterKey(key, display, text, "").data_bind(compact=Footer.compact)
            return
        for one in super().compose():
            if isinstance(one, FooterKey) and one.action.endswith("help"):
                one.add_class("-help")
            yield one
