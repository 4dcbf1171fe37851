"""The keys at the bottom; the one for help stays in sight on the right, however many there are."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class KeyFooter(Footer):
    """Textual's, without its command palette."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        for one in super().compose():
            if isinstance(one, FooterKey) and one.action.endswith("help"):
                one.add_class("-help")
            yield one
