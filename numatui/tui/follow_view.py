"""A page between two steps as a picture: the old frame, the page tables and the swap slot, the new frame. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from backend.emulator.explain import PATCHES, explain
from backend.emulator.trace import FrameState, Row
from backend.text import printable
from numatui.tui import bars
from numatui.tui.glyphs import Glyphs
from numatui.tui.paint import Piece

Ptes = tuple[tuple[int, str, str], ...]
_WIDE = 76
_BOX = 9


@dataclass(frozen=True, slots=True)
class Moment:
    """A row of the trace with the one before it, each with the PTEs of all who may map the page; `home`: the frame where the
    page was at first. `patches`: whether the steps are those of Direct Migration V8."""

    row: Row
    before: Row | None
    ptes: Ptes
    ptes_before: Ptes
    home: int
    patches: bool


def picture(moment: Moment, width: int, marks: Glyphs) -> list[Piece]:
    """The picture, and below it the step in words. What has changed is marked with `+`, `-` or an arrow."""
    left, right = _frames(moment)
    if width >= _WIDE:
        side = min(34, (width - 24) // 2)
        columns = [
            (side, _box(*left, moment, side, marks)),
            (width - 2 * side, _middle(moment, width - 2 * side, marks)),
            (side, _box(*right, moment, side, marks)),
        ]
        pieces = _beside(columns, _BOX)
    else:
        pieces = []
        for lines in (
            _box(*left, moment, width, marks, 2),
            _middle(moment, width, marks),
            _box(*right, moment, width, marks, 2),
        ):
            for line in lines:
                pieces += [*bars.fitted(line, width), ("\n", "")]
    return [*pieces, *words(moment, width)]


def words(moment: Moment, width: int) -> list[Piece]:
    """When, which step, by whom, and what it did."""
    row = moment.row
    told = explain(moment.before, row)
    pieces: list[Piece] = [
        (f" {row.time:.6f} s ", "bold"), (f" {row.step}", "key"),
        (f"  by {printable(row.who, 40)}" if row.who else "", "dim"),
    ]  # fmt: skip
    if told.patch and moment.patches:
        patch: list[Piece] = [
            ("  patch ", "dim"),
            (str(told.patch), "accent"),
            (f" {PATCHES[told.patch]}", "dim"),
        ]
        pieces += [*([("\n", "")] if bars.length(pieces) + bars.length(patch) > width else []), *patch]
    for line in wrap(told.text, max(20, width - 2)):
        pieces.append((f"\n {printable(line, 400)}", ""))
    return pieces


def _frames(moment: Moment) -> tuple[tuple[str, FrameState | None], tuple[str, FrameState | None]]:
    """The boxes: (title, frame) on the left and on the right."""
    row = moment.row
    if row.old is not None:
        return ("old frame", row.old), ("new frame", row.frame)
    if row.frame is None:
        return ("no frame: not in memory", None), ("no new frame", None)
    if row.frame.pfn == moment.home:
        return ("frame", row.frame), ("no new frame yet", None)
    return ("old frame: free again", None), ("new frame", row.frame)


def _earlier(moment: Moment, frame: FrameState) -> FrameState | None:
    """The same frame in the row before."""
    if moment.before is None:
        return frame
    return next(
        (one for one in (moment.before.frame, moment.before.old) if one is not None and one.pfn == frame.pfn),
        None,
    )


def _box(
    title: str, frame: FrameState | None, moment: Moment, width: int, marks: Glyphs, most: int = 4
) -> list[list[Piece]]:
    inner = width - 4
    flat, bar = marks.lines[12], marks.lines[3]
    edge = "dim" if frame is None else ""
    lines: list[list[Piece]] = [
        [(f" {marks.lines[10]}{flat} ", edge), (title, "bold" if frame else "dim"), (" ", "")]
    ]
    lines[0].append((flat * max(0, width - 2 - bars.length(lines[0])) + marks.lines[6], edge))
    body: list[list[Piece]] = []
    if frame is not None:
        was = _earlier(moment, frame)
        body = [
            [
                ("pfn ", "dim"),
                (str(frame.pfn), "bold"),
                ("  node ", "dim"),
                (str(frame.node), f"ink:{frame.node}"),
            ],
            [
                *_number("references", was.refcount if was else None, frame.refcount, marks),
                *_number("  mapped", was.mapcount if was else None, frame.mapcount, marks),
            ],
            *_flags(was.flags if was else (), frame.flags, inner, most),
        ]
    while len(body) < 2 + most and frame is not None and most > 2:
        body.append([])
    if frame is None and most > 2:
        body = [[]] * (2 + most)
    lines += [[(f" {bar} ", edge), *bars.fitted(line, inner - 1), (f"{bar}", edge)] for line in body]
    lines.append([(f" {marks.lines[9]}{flat * (width - 4)}{marks.lines[5]}", edge)])
    return lines


def _number(name: str, was: int | None, now: int, marks: Glyphs) -> list[Piece]:
    if was is None or was == now:
        return [(f"{name} ", "dim"), (str(now), "bold")]
    return [(f"{name} ", "dim"), (f"{was}{marks.arrow}{now}", "accent")]


def _flags(was: Sequence[str], now: Sequence[str], width: int, most: int) -> list[list[Piece]]:
    """Flags in lines: `+` those that are new, `-` those that have gone."""
    words: list[Piece] = [(f"+{flag} ", "accent") if flag not in was else (f"{flag} ", "") for flag in now]
    words += [(f"-{flag} ", "warn") for flag in was if flag not in now]
    lines: list[list[Piece]] = [[]]
    for word in words or [("no flags", "dim")]:
        if bars.length(lines[-1]) + len(word[0]) > width and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return lines[:most]


def _middle(moment: Moment, width: int, marks: Glyphs) -> list[list[Piece]]:
    row, before = moment.row, moment.before
    earlier = {(pid, name): pte for pid, name, pte in moment.ptes_before}
    lines: list[list[Piece]] = [[("  PTEs", "dim")]]
    for pid, name, pte in moment.ptes[:3]:
        changed = before is not None and earlier.get((pid, name)) != pte
        sign = f"{marks.mark} " if changed else "  "
        lines.append([(f" {sign}", "accent"), (f"{printable(name, 12)} ", "key")])
        lines.append([("    ", ""), (pte, "accent" if changed else "bold")])
    if len(moment.ptes) > 3:
        lines.append([(f"   and {len(moment.ptes) - 3} more", "dim")])
    changed = before is not None and before.slot != row.slot
    slot = "none" if row.slot is None else f"{row.slot[0]}, used {row.slot[1]}"
    lines.append(
        [
            (f" {marks.mark if changed else ' '} ", "accent"),
            ("swap slot ", "dim"),
            (slot, "accent" if changed else "bold"),
        ]
    )
    lines += [
        [(f" {marks.mark} ", "accent"), ("waits: ", "dim"), (printable(one.partition(":")[0], 20), "far")]
        for one in row.waiting[:2]
    ]
    return lines


def _beside(columns: Sequence[tuple[int, list[list[Piece]]]], height: int) -> list[Piece]:
    """Columns of lines side by side."""
    out: list[Piece] = []
    for at in range(min(height, max(len(lines) for _, lines in columns))):
        for width, lines in columns:
            out += bars.fitted(lines[at] if at < len(lines) else [], width)
        out.append(("\n", ""))
    return out
