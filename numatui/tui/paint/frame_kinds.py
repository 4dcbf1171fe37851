"""Letter, name and colour of each kind of frame. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backend.emulator.inspect.frame_map import Kind
from numatui.tui.paint.glyphs import UNICODE, Glyphs
from numatui.tui.paint.paint import Piece

LETTERS = {
    Kind.FREE: ".", Kind.OTHER: "k", Kind.FILE: "f", Kind.ANON: "a", Kind.SHMEM: "s", Kind.POOL: "p", Kind.HUGE: "H",
    Kind.DIRTY: "d", Kind.SWAP_CACHE: "S", Kind.WRITEBACK: "W", Kind.LOCKED: "L", Kind.KEPT_OUT: "X",
}  # fmt: skip
NAMES = {
    Kind.FREE: "free", Kind.OTHER: "kernel", Kind.FILE: "file", Kind.ANON: "anon", Kind.SHMEM: "shared",
    Kind.POOL: "free huge", Kind.HUGE: "huge", Kind.DIRTY: "dirty file", Kind.SWAP_CACHE: "swap cache",
    Kind.WRITEBACK: "writeback", Kind.LOCKED: "locked", Kind.KEPT_OUT: "kept out",
}  # fmt: skip
ROLES = {
    Kind.FREE: "dim",
    Kind.OTHER: "node:7",
    Kind.FILE: "node:2",
    Kind.ANON: "node:0",
    Kind.SHMEM: "ink:0",
    Kind.POOL: "ink:5",
    Kind.HUGE: "node:5",
    Kind.DIRTY: "node:1",
    Kind.SWAP_CACHE: "node:3",
    Kind.WRITEBACK: "node:6",
    Kind.LOCKED: "node:4",
    Kind.KEPT_OUT: "far",
}
"""The map shows one node, so the theme's node colours are free for kinds."""


def letter(kind: int, glyphs: Glyphs) -> str:
    """The letter of a kind, one cell wide."""
    return "·" if kind == Kind.FREE and glyphs is UNICODE else LETTERS[Kind(kind)]


def legend(counts: Sequence[int], width: int, glyphs: Glyphs) -> list[Piece]:
    """Letter, name and number of frames of each kind. Kinds without frames are shown only if they are in `always`."""
    always = (Kind.FREE, Kind.ANON, Kind.FILE, Kind.DIRTY, Kind.SWAP_CACHE, Kind.WRITEBACK, Kind.LOCKED)
    shown = [kind for kind in Kind if counts[kind] or kind in always]
    return legend_of([((letter(kind, glyphs), ROLES[kind]), NAMES[kind], counts[kind]) for kind in shown], width)


def legend_of(entries: Sequence[tuple[Piece, str, int]], width: int, lines: int = 99) -> list[Piece]:
    """Sign, name and number of frames of each entry, on at most so many lines; how many more there are."""
    pieces: list[Piece] = []
    used, line = 0, 1
    for index, (sign, name, frames) in enumerate(entries):
        count, more = f" {frames:,}", f" and {len(entries) - index} more"
        need = 5 + len(name) + len(count)
        if used and used + need + (len(more) if line == lines else 0) > width:
            if line == lines:
                return [*pieces, (more, "dim")]
            pieces.append(("\n", ""))
            used, line = 0, line + 1
        pieces += [
            (" ", ""), sign, (f" {name}", "" if frames else "dim"), (f"{count}  ", "bold" if frames else "dim"),
        ]  # fmt: skip
        used += need
    return pieces
