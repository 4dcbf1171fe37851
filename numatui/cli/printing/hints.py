"""Hints name commands as they are typed for this machine; for another one they get the options that choose it."""

from __future__ import annotations

import re

from backend.files.shell_word import path_word
from numatui.cli.commands import COMMANDS
from numatui.cli.source import KernelChoice

_COMMAND = re.compile(rf"\bnumatui (?=(?:{'|'.join(sorted(COMMANDS))})\b)")
_chosen = ""


def choose(choice: KernelChoice) -> None:
    """From now on hints are for this machine."""
    global _chosen
    _chosen = ""
    if choice.which in ("demo", "replay"):
        _chosen = f"--{choice.which} {path_word(choice.argument)} "
    elif choice.which == "remote":
        _chosen = f"--host {choice.argument} " + ("--sudo " if choice.sudo else "")


def there(hint: str) -> str:
    """The hint, with what its reader has to type. One that says to do without these options stays as it is."""
    if not _chosen or "without --" in hint:
        return hint
    return _COMMAND.sub(lambda found: found[0] + _chosen, hint)
