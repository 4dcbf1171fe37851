"""Names from outside (processes, files, cgroups, recordings) made harmless to show, losing nothing that identifies
them."""

from __future__ import annotations


def decode(raw: bytes) -> str:
    """Bytes of a name as text; what is not UTF-8 is kept as surrogate escapes."""
    return raw.decode("utf-8", "surrogateescape")


def printable(text: str, limit: int = 256) -> str:
    """One line of visible characters: control, format and undecodable ones are written as escapes (`\\n`, `\\x1b`).

    A name longer than `limit` characters ends in `…`.
    """
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    shown = "".join(char if char.isprintable() else _escape(char) for char in text[: limit + 1])
    return shown if len(text) <= limit and len(shown) <= 4 * limit else shown[:limit] + "…"


def _escape(char: str) -> str:
    code = ord(char)
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
