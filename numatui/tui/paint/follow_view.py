"""Picture of a page at one step: old frame, page tables and swap slot, new frame. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from backend.emulator.inspect.explain import PATCHES, explain
from backend.emulator.inspect.trace import FrameState, TraceRow
from backend.files.text import printable
from numatui.tui.paint import bars
from numatui.tui.paint.glyphs import Glyphs
from numatui.tui.paint.paint import Piece

Ptes = tuple[tuple[int, str, str], ...]
_WIDE = 76  # cells from which the boxes fit side by side
_BOX = 9  # lines of a box, with its edges


@dataclass(frozen=True, slots=True)
class FollowedStep:
    """A row of the trace and the previous row, each with the PTEs of all processes that may map the page. `home`: the
    frame where the page was first. `patches`: whether the steps belong to Direct Migration V8."""

    row: TraceRow
    before: TraceRow | None
    ptes: Ptes
    ptes_before: Ptes
    home: int
    patches: bool


def picture(moment: FollowedStep, width: int, marks: Glyphs) -> list[Piece]:
    """The picture and the step in words. The words stand below; on a narrow screen, above. Changes are marked with `+`,
    `-` or an arrow."""
    left, right = _frames(moment)
    if width < _WIDE:
        lines = [
            *_short(*left, moment, width, marks),
            *_tables(moment, width),
            *_short(*right, moment, width, marks),
        ]
        return [*words(moment, width), ("\n", ""), *_stacked(lines, width)]
    side = min(34, (width - 24) // 2)
    columns = [
        (side, _box(*left, moment, side, marks)),
        (width - 2 * side, _middle(moment, marks)),
        (side, _box(*right, moment, side, marks)),
    ]
    return [*_beside(columns, _BOX), *words(moment, width)]


def words(moment: FollowedStep, width: int) -> list[Piece]:
    """Time, name, actor and effect of the step."""
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


def _frames(moment: FollowedStep) -> tuple[tuple[str, FrameState | None], tuple[str, FrameState | None]]:
    """(title, frame) of the left and the right box."""
    row = moment.row
    if row.old is not None:
        return ("old frame", row.old), ("new frame", row.frame)
    if row.frame is None:
        return ("no frame: not in memory", None), ("no new frame", None)
    if row.frame.pfn == moment.home:
        return ("frame", row.frame), ("no new frame yet", None)
    return ("old frame: free again", None), ("new frame", row.frame)


def _earlier(moment: FollowedStep, frame: FrameState) -> FrameState | None:
    """The same frame in the previous row."""
    if moment.before is None:
        return frame
    return next(
        (one for one in (moment.before.frame, moment.before.old) if one is not None and one.pfn == frame.pfn),
        None,
    )


def _box(title: str, frame: FrameState | None, moment: FollowedStep, width: int, marks: Glyphs) -> list[list[Piece]]:
    inner = width - 5
    flat, bar = marks.lines[12], marks.lines[3]
    edge = "dim" if frame is None else ""
    top: list[Piece] = [(f" {marks.lines[10]}{flat} ", edge), (title, "bold" if frame else "dim"), (" ", "")]
    top.append((flat * max(0, width - 2 - bars.length(top)) + marks.lines[6], edge))
    body = _told(frame, moment, inner, marks)[: _BOX - 2]
    body += [[] for _ in range(_BOX - 2 - len(body))]
    return [
        top,
        *([(f" {bar} ", edge), *bars.fitted(line, inner), (bar, edge)] for line in body),
        [(f" {marks.lines[9]}{flat * (width - 4)}{marks.lines[5]}", edge)],
    ]


def _short(title: str, frame: FrameState | None, moment: FollowedStep, width: int, marks: Glyphs) -> list[list[Piece]]:
    """A frame in lines without a box."""
    body = _told(frame, moment, width - 3, marks)
    return [
        [(f" {title}  ", "bold" if frame else "dim"), *(body[0] if body else [])],
        *([("   ", ""), *line] for line in body[1:]),
    ]


def _told(frame: FrameState | None, moment: FollowedStep, width: int, marks: Glyphs) -> list[list[Piece]]:
    """A frame in lines: number and node, counts, flags."""
    if frame is None:
        return []
    was = _earlier(moment, frame)
    return [
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
        *_flags(was.flags if was else (), frame.flags, width),
    ]


def _number(name: str, was: int | None, now: int, marks: Glyphs) -> list[Piece]:
    if was is None or was == now:
        return [(f"{name} ", "dim"), (str(now), "bold")]
    return [(f"{name} ", "dim"), (f"{was}{marks.arrow}{now}", "accent")]


def _flags(was: Sequence[str], now: Sequence[str], width: int) -> list[list[Piece]]:
    """Flags in lines. `+`: a new flag; `-`: a cleared flag."""
    words: list[Piece] = [(f"+{flag} ", "accent") if flag not in was else (f"{flag} ", "") for flag in now]
    words += [(f"-{flag} ", "warn") for flag in was if flag not in now]
    lines: list[list[Piece]] = [[]]
    for word in words or [("no flags", "dim")]:
        if bars.length(lines[-1]) + len(word[0]) > width and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return lines


def _tables(moment: FollowedStep, width: int) -> list[list[Piece]]:
    """A line for each PTE, for the swap slot, and for each waiting task."""
    row, before = moment.row, moment.before
    earlier = {(pid, name): pte for pid, name, pte in moment.ptes_before}
    lines: list[list[Piece]] = []
    for pid, name, pte in moment.ptes[:3]:
        changed = before is not None and earlier.get((pid, name)) != pte
        lines.append(
            [
                (" PTE ", "dim"),
                (f"{printable(name, 12)} ", "key"),
                ("+" * changed + pte, "accent" if changed else "bold"),
            ]
        )
    if len(moment.ptes) > 3:
        lines.append([(f" and {len(moment.ptes) - 3} PTEs more", "dim")])
    changed = before is not None and before.slot != row.slot
    slot = "none" if row.slot is None else f"{row.slot[0]}, used {row.slot[1]}"
    lines.append([(" swap slot ", "dim"), ("+" * changed + slot, "accent" if changed else "bold")])
    lines += [
        [(" waits: ", "dim"), (printable(one.partition(":")[0], max(8, width - 9)), "far")] for one in row.waiting[:2]
    ]
    return lines


def _middle(moment: FollowedStep, marks: Glyphs) -> list[list[Piece]]:
    """The column between the boxes: the tables, with PTEs on two lines; an arrow while the page moves."""
    lines: list[list[Piece]] = []
    for line in _tables(moment, 24):
        if line[0][0] == " PTE ":
            lines += [line[:2], [("   ", ""), *line[2:]]]
        else:
            lines.append(line)
    moving = moment.row.old is not None and moment.row.frame is not None
    return [*lines, [], [(f"  {marks.away[0] * 3}{marks.head}", "accent")]] if moving else lines


def _stacked(lines: Sequence[list[Piece]], width: int) -> list[Piece]:
    """Lines below each other, each `width` cells."""
    return [piece for line in lines for piece in (*bars.fitted(line, width), ("\n", ""))][:-1]


def _beside(columns: Sequence[tuple[int, list[list[Piece]]]], height: int) -> list[Piece]:
    """Columns of lines side by side."""
    out: list[Piece] = []
    for at in range(min(height, max(len(lines) for _, lines in columns))):
        for width, lines in columns:
            out += bars.fitted(lines[at] if at < len(lines) else [], width)
        out.append(("\n", ""))
    return out
