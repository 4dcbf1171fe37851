"""A letter and a colour for each process that has frames, the same as long as the microscope is open. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_letters

from backend.emulator.inspect.frame_map import Kind
from backend.emulator.inspect.owners import FREE, SEVERAL, UNMAPPED
from backend.files.text import printable
from numatui.tui.paint.frame_kinds import ROLES, legend_of, letter
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

_COLOURS = (*(f"node:{number}" for number in range(8)), *(f"ink:{number}" for number in range(8)))
_LETTERS = ascii_letters[26:] + ascii_letters[:26]
_WORDS = {FREE: "free", UNMAPPED: "in nobody's page table", SEVERAL: "several"}


class OwnerSigns:
    """Processes get letters as they are seen, those with the most frames first. Where letters run out, they repeat."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._signs: dict[int, Piece] = {
            FREE: (letter(Kind.FREE, glyphs), ROLES[Kind.FREE]),
            UNMAPPED: ("-", "dim"),
            SEVERAL: ("*", "accent"),
        }

    def meet(self, counts: Mapping[int, int]) -> None:
        """Gives a sign to those that have none. `counts`: frames by owner, most first."""
        for owner in counts:
            if owner not in self._signs:
                number = len(self._signs) - len(_WORDS)
                self._signs[owner] = (_LETTERS[number % len(_LETTERS)], _COLOURS[number % len(_COLOURS)])

    def __getitem__(self, owner: int) -> Piece:
        """(letter, role)."""
        return self._signs.get(owner, ("?", "dim"))

    def filled(self, owner: int) -> str:
        """The role of a cell that is filled with its frames."""
        kind, _, number = self[owner][1].partition(":")
        return f"fill:{number}" if number else kind


def name_of(owner: int, names: Mapping[int, str]) -> str:
    """A process by pid and name, or what stands for one."""
    return _WORDS[owner] if owner in _WORDS else f"{owner} {printable(names.get(owner, '?'), 20)}"


def owner_legend(
    counts: Mapping[int, int], names: Mapping[int, str], signs: OwnerSigns, width: int, lines: int
) -> list[Piece]:  # fmt: skip
    """Sign, name and number of frames of each owner, most first, on so many lines; how many more there are."""
    most_first = sorted(counts.items(), key=lambda one: -one[1])
    return legend_of([(signs[owner], name_of(owner, names), count) for owner, count in most_first], width, lines)
