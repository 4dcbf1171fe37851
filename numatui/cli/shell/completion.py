"""`numatui completion SHELL`: the script that makes Tab complete commands, options, pids, node sets and names."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import shell_complete

from backend.errors import UsageError
from numatui.cli.app import COMPLETE, command_line
from numatui.cli.shell.completing import one_of, register_shells

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[str, typer.Argument(help=f"{', '.join(SHELLS)}.", autocompletion=one_of(*SHELLS))],
) -> None:
    """Print the completion script of a shell. Bash: eval "$(numatui completion bash)" in ~/.bashrc; zsh: the same in
    ~/.zshrc after compinit; fish: numatui completion fish > ~/.config/fish/completions/numatui.fish.

    Example: numatui completion bash
    """
    if shell not in SHELLS:
        raise UsageError(f"there is no completion for '{shell}'", f"choose one of {', '.join(SHELLS)}")
    register_shells()
    shell_complete(command_line(), {}, "numatui", COMPLETE, f"source_{shell}")
