"""Names in commands that are printed to be copied: users choose those of cgroups, files and units."""

from __future__ import annotations

import os
import shlex

_PLAIN = {ord(char) for char in map(chr, range(32, 127))} - {ord("'"), ord("\\")}


def shell_word(text: str) -> str:
    """One word of a shell's command line, on one line, that stands for exactly this text. What cannot be shown is
    written as in bash, zsh and POSIX.1-2024: `$'a\\x0ab'`."""
    if not text.isprintable():
        return "$'" + "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(text)) + "'"
    # zsh expands =name; shlex leaves it as it is.
    return f"'{text}'" if text.startswith("=") and shlex.quote(text) == text else shlex.quote(text)


def path_word(path: str) -> str:
    """As `shell_word`, for a file: never taken for an option."""
    return shell_word(f"./{path}" if path.startswith("-") else path)
