"""Commands by their name (`:`, Ctrl+P): those of this screen, themes, a screenshot."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from platformdirs import user_downloads_path
from textual.app import SystemCommand
from textual.screen import Screen

from backend.errors import NumatuiError
from backend.files.new_file import open_new
from numatui import theming
from numatui.tui.dressed_app import DressedApp
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.dialogs.chooser import Chooser

_OF_TEXTUAL = ("Theme", "Screenshot")
"""Textual's own commands that are kept; the others show its own panels, or do what a key of ours does."""


class PaletteApp(DressedApp):
    """An app with them."""

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        named: set[str] = set()
        for command in super().get_system_commands(screen):
            if command.title in _OF_TEXTUAL or command.callback.__module__ != "textual.app":
                named.add(command.title)
                yield command
        for active in screen.active_bindings.values():
            text = active.binding.description
            if text and active.enabled and not active.binding.system and text not in named:
                named.add(text)
                run = partial(self.call_later, self.run_action, active.binding.action, active.node)
                yield SystemCommand(text, f"the key {self.get_key_display(active.binding)}", run)

    def action_change_theme(self) -> None:
        names = sorted(name.removeprefix(theming.PREFIX) for name in self.available_themes if _ours(name))
        here = self.theme.removeprefix(theming.PREFIX)
        self.push_screen(Chooser("Theme", [(name, name) for name in names], here), self._take_theme)

    def _take_theme(self, name: str | None) -> None:
        if name is None:
            return
        self.theme = theming.PREFIX + name
        if self.config_theme not in (None, name):
            self.tell(f"config.yaml names the theme {self.config_theme}: the next start takes that again")

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """Into the folder of downloads, else the home, else the folder that this was started in."""
        name = filename or time.strftime("numatui-%Y-%m-%d-%H%M%S.svg")
        places = [Path(path)] if path else [user_downloads_path(), Path.home(), Path.cwd()]
        where = next((place for place in places if place.is_dir()), places[-1]) / name
        try:
            with os.fdopen(open_new(where), "w", encoding="utf-8") as file:
                file.write(self.export_screenshot())
        except (NumatuiError, OSError) as exc:
            self.tell(f"no screenshot: {problem_of(exc)}", severity="error")
            return None
        self.tell(f"written: {where}")
        return str(where)


def _ours(name: str) -> bool:
    return name.startswith(theming.PREFIX)
