"""The command line by which numatui comes to a kernel again."""

from __future__ import annotations

from backend.files.shell_word import path_word
from backend.kernel import Kernel


def program(kernel: Kernel) -> str:
    """`numatui`, with the options that choose the same machine: for commands that a user is told."""
    if kernel.source == "live":
        return "numatui"
    if kernel.source == "remote":  # a host, and --sudo: neither needs quotes
        return f"numatui --host {kernel.reference}"
    return f"numatui --{kernel.source} {path_word(kernel.reference)}"
