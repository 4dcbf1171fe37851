"""The microscope: a map of the frames of a node, or of several side by side, with zoom from the whole node to one
frame; what the frames are, or whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.inspect.frame_map import FrameDetail, Kind, mapper
from backend.emulator.study.follow import Stage
from backend.files.text import printable
from numatui.format import size
from numatui.tui.keys import bindings, digits
from numatui.tui.paint import bars
from numatui.tui.paint.frame_kinds import NAMES, ROLES, legend, letter
from numatui.tui.paint.frame_owners import OwnerSigns, name_of, owner_legend
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.emulated import emulated
from numatui.tui.reading.frame_source import FrameSource, FramesRead, Wanted
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.study.follow import Followed, FollowScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.frame_map import FrameMap, ShownCells
from numatui.tui.widgets.header import Header

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

REFRESH = 0.25  # seconds between readings while time runs
_LEAST_WIDTH, _LEAST_HEIGHT = 40, 7
"""Cells of a map beside others."""
_MOST_COLUMNS = 4
_AROUND = 10  # lines of header, detail, legend and footer
_LEGEND = 3  # lines of owners
_WITHIN = 5  # owners that are told of in one cell


@dataclass
class FramesSeen(Message):
    """The frames of the maps that are shown were read."""

    seen: list[FramesRead]


@dataclass
class FollowReady(Message):
    """The stage on which a page can be followed, or the error. `speed`: simulated time before it stopped."""

    stage: Stage | None
    speed: float = 0.0
    problem: str = ""


class NodeFrames(Vertical):
    """The map of one node below its heading."""

    def __init__(self, node: int, first: int, pages: int) -> None:
        super().__init__()
        self.node = node
        self.seen: FramesRead | None = None
        self._zone = (first, pages)

    def compose(self) -> ComposeResult:
        yield Static(classes="heading", markup=False)
        yield FrameMap(self.node, *self._zone)

    @property
    def map(self) -> FrameMap:
        return self.query_one(FrameMap)

    def title(self, pieces: list[Piece]) -> None:
        self.query_one(".heading", Static).update(Paint.of(self.app).text(pieces))


class MicroscopeScreen(Screen[None]):
    """Reads again while simulated time runs, at most one reading at a time. `by_owner`: cells show whose frames they
    are, not what they are. `only`: the kind or the owner that alone is shown."""

    BINDINGS: ClassVar = [
        *bindings("microscope"),
        *digits("number", "Node by number"),
    ]

    READING: ClassVar = (
        ("a cell", "one frame, or as many as the heading says: what most of them are; passing states come first"),
        ("reversed", "cells that have just become something else: pages that came or went"),
        ("w", "letters and colours of processes instead of kinds; * several map it, - in nobody's page table"),
        ("Enter", "only what is under the cursor, filled as far as each cell has it; again: all"),
    )

    def __init__(self, source: FrameSource) -> None:
        super().__init__()
        self.source = source
        self.nodes = [node for node, (_, pages) in source.zones.items() if pages]
        self.current = self.nodes[0]
        self.by_owner = self.side_by_side = False
        self.only: int | None = None
        self._signs = OwnerSigns(glyphs())
        self._busy = self._due = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return emulated(state_of(self).kernel) is not None if action == "follow" else True

    def on_key(self, event: events.Key) -> None:
        if event.key == "f" and not self.check_action("follow", ()):
            state_of(self).tell("a page of a recording cannot be followed: it does not move")

    def compose(self) -> ComposeResult:
        yield Header()
        with Container(id="maps"):
            for node in self.nodes:
                yield NodeFrames(node, *self.source.zones[node])
        yield Static(id="detail", markup=False)
        yield Static(id="legend", markup=False)
        yield KeyFooter()

    @property
    def maps(self) -> list[NodeFrames]:
        """Those that are shown."""
        return [one for one in self.query(NodeFrames) if one.display]

    @property
    def pane(self) -> NodeFrames:
        """That of the current node."""
        return next(one for one in self.query(NodeFrames) if one.node == self.current)

    @property
    def map(self) -> FrameMap:
        return self.pane.map

    @property
    def seen(self) -> FramesRead | None:
        return self.pane.seen

    def on_mount(self) -> None:
        self.set_interval(REFRESH, self._tick)
        self._choose(self.current)

    def on_resize(self) -> None:
        self._arrange()

    def _tick(self) -> None:
        if self.is_current and (self.seen is None or self.source.changed(self.seen)):
            self._ask()

    def _choose(self, node: int) -> None:
        self.current = node
        self._arrange()
        self.map.focus()

    def _arrange(self) -> None:
        """Shows the map of the current node alone, or as many beside it as have room."""
        columns = rows = 1
        if self.side_by_side:
            columns = max(1, min(self.size.width // _LEAST_WIDTH, -(-len(self.nodes) // 2), _MOST_COLUMNS))
            rows = max(1, min((self.size.height - _AROUND) // _LEAST_HEIGHT, -(-len(self.nodes) // columns)))
        room = columns * rows
        begin = self.nodes.index(self.current) // room * room
        shown = self.nodes[begin : begin + room]
        for one in self.query(NodeFrames):
            one.display = one.node in shown
        self.query_one("#maps").styles.grid_size_columns = columns
        self._ask()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, FrameMap) and event.widget.node != self.current:
            self.current = event.widget.node
            self._tell()

    def on_frame_map_moved(self) -> None:
        self._ask()

    def _ask(self) -> None:
        """Requests a reading. A request during a reading causes one more afterwards."""
        self._due = self._busy
        wanted = [
            Wanted(one.node, one.map.visible, one.map.shift, one.map.pointed, self.by_owner, self._only_owner)
            for one in self.maps
            if one.map.size.width
        ]
        if not self._busy and wanted:
            self._busy = True
            self._look(wanted)

    @property
    def _only_owner(self) -> int | None:
        return self.only if self.by_owner else None

    @work(thread=True, group="microscope", exit_on_error=False)
    def _look(self, wanted: list[Wanted]) -> None:
        try:
            self.post_message(FramesSeen([self.source.look(one) for one in wanted]))
        except Exception as exc:
            self.post_message(FollowReady(None, problem=problem_of(exc)))

    def on_frames_seen(self, event: FramesSeen) -> None:
        self._busy = False
        for read in event.seen:
            pane = next(one for one in self.query(NodeFrames) if one.node == read.wanted.node)
            same = pane.seen is not None and _mode(pane.seen) == _mode(read)
            pane.seen = read
            if read.owned is not None:
                self._signs.meet(read.owned.counts)
            pane.map.show(self._cells(read), same)
        self._tell()
        if self._due:
            self._ask()

    def _cells(self, read: FramesRead) -> ShownCells:
        if read.owned is not None:
            owned = read.owned
            filled = "" if read.wanted.only is None else self._signs.filled(read.wanted.only)
            return ShownCells(
                owned.first, owned.shift, owned.owners, self._signs.__getitem__, share=owned.share, filled=filled
            )
        kinds, marks = read.cells.kinds.astype(np.int32), glyphs()
        dim = kinds != self.only if self.only is not None and not self.by_owner else None

        def sign(kind: int) -> Piece:
            return letter(kind, marks), ROLES[Kind(kind)]

        return ShownCells(read.cells.first, read.cells.shift, kinds, sign, dim)

    def _tell(self) -> None:
        """Headings, the frame that is pointed at, the legend."""
        paint, marks = Paint.of(self.app), glyphs()
        for one in self.maps:
            one.title(self._title(one))
        pointed = next((one for one in self.maps if one.map.hover >= 0), self.pane)
        self.query_one("#detail", Static).update(paint.text(self._detail(pointed, marks)))
        self.query_one("#legend", Static).update(paint.text(self._legend(marks)))

    def _title(self, one: NodeFrames) -> list[Piece]:
        frames, page = one.map, self.source.page_size
        per_cell = 1 << frames.shift
        by_need: list[Piece] = [
            (f" Node {one.node}", f"ink:{one.node}"),
            (f"  a cell is {per_cell:,} frame{'s' * (per_cell > 1)}, {size(per_cell * page)}", "key"),
            (f"  {frames.visible[1]:,} of {frames.pages:,} in sight", ""),
        ]
        if one.seen is not None:
            by_need.append((f"  at {one.seen.now:.3f} s", "dim"))
            if self.only is not None:
                by_need.insert(1, (f"  only {self._told_of(self.only, one.seen)} (Enter: all)", "accent"))
        while len(by_need) > 1 and bars.length(by_need) > one.size.width:
            by_need.pop()
        return by_need

    def _told_of(self, code: int, read: FramesRead) -> str:
        return name_of(code, read.names) if self.by_owner else NAMES[Kind(code)]

    def _legend(self, marks: Glyphs) -> list[Piece]:
        some = [one.seen for one in self.maps if one.seen is not None]
        if not some:
            return []
        if not self.by_owner:
            return legend(np.sum([read.cells.counts for read in some], axis=0).tolist(), self.size.width, marks)
        counts: dict[int, int] = {}
        for read in some:
            for owner, count in (read.owned.counts if read.owned is not None else {}).items():
                counts[owner] = counts.get(owner, 0) + count
        return owner_legend(counts, some[-1].names, self._signs, self.size.width, _LEGEND)

    def _detail(self, pane: NodeFrames, marks: Glyphs) -> list[Piece]:
        read = pane.seen
        if read is None or read.wanted.pointed != pane.map.pointed:
            return []
        first, count = read.wanted.pointed
        if read.detail is not None:
            return describe(read.detail, marks)
        at = (first - read.cells.first) >> read.cells.shift
        if read.cells.shift != pane.map.shift or not 0 <= at < len(read.cells.kinds):
            return []
        kind = Kind(int(read.cells.kinds[at]))
        pieces: list[Piece] = [
            (f" pfn {first} to {first + count - 1}  " if count > 1 else f" pfn {first}  ", "bold"),
            (letter(kind, marks), ROLES[kind]),
            (f" {NAMES[kind]}", ""),
            ("  zoom in with + to see each frame\n" if count > 1 else "  a recording tells no more of it\n", "dim"),
        ]
        whose = list(read.within.items())
        for owner, number in whose[:_WITHIN]:
            pieces += [(f" {name_of(owner, read.names)}", "" if owner > 0 else "dim"), (f" {number:,} ", "bold")]
        if len(whose) > _WITHIN:
            pieces.append((f" and {len(whose) - _WITHIN} more", "dim"))
        return [*pieces, ("\n", "")]

    def action_zoom(self, step: int) -> None:
        self.map.action_zoom(step)

    def action_node(self, step: int) -> None:
        self._choose(self.nodes[(self.nodes.index(self.current) + step) % len(self.nodes)])

    def action_number(self, node: int) -> None:
        if node in self.nodes:
            self._choose(node)

    def action_owners(self) -> None:
        """Whose frames they are, or what they are."""
        if not self.source.knows_owners:
            state_of(self).tell("a recording has the kind of each frame, not whose it is", severity="warning")
            return
        self.by_owner, self.only = not self.by_owner, None
        self._ask()

    def action_side_by_side(self) -> None:
        if len(self.nodes) > 1:
            self.side_by_side = not self.side_by_side
            self._arrange()

    def action_filter(self) -> None:
        """Shows only what is under the cursor; all, if it is filtered already."""
        read = self.seen
        if self.only is not None or read is None:
            self.only = None
        else:
            at = (self.map.cell[0] - read.cells.first) >> read.cells.shift
            codes = read.cells.kinds if read.owned is None else read.owned.owners
            if self.map.shift == read.cells.shift and 0 <= at < len(codes):
                self.only = int(codes[at])
        self._ask()

    def action_follow(self) -> None:
        if any(not job.ended for job in state_of(self).jobs):
            state_of(self).tell(
                "A page can be followed when no migration is under way: time has to stand still.",
                severity="warning",
            )
            return
        self._follow(*self.map.cell)

    @work(thread=True, group="follow", exit_on_error=False)
    def _follow(self, first: int, count: int) -> None:
        kernel = emulated(state_of(self).kernel)
        if kernel is None:
            self.post_message(FollowReady(None, problem="a page of a recording cannot be followed: it does not move"))
            return
        speed = kernel.speed

        def begin(m: Machine) -> Stage | None:
            found = mapper(m, first, count)
            if found is None:
                return None
            kernel.speed = 0.0
            return Stage.follow(m, *found, around=lambda act: kernel.look(lambda _: act()))

        try:
            stage = kernel.look(begin)
            problem = "" if stage is not None else "nobody maps a frame here: there is no page to follow"
            self.post_message(FollowReady(stage, speed, problem))
        except Exception as exc:
            self.post_message(FollowReady(None, problem=problem_of(exc)))

    def on_follow_ready(self, event: FollowReady) -> None:
        if event.stage is None:
            self._busy = False
            state_of(self).tell(event.problem, severity="warning")
            return
        kernel = emulated(state_of(self).kernel)

        def left(_: None) -> None:
            if kernel is not None:
                kernel.speed = event.speed
            state_of(self).refresh_bindings()

        name = printable(event.stage.follower.task.name.decode("utf-8", "surrogateescape"), 30)
        self.app.push_screen(FollowScreen([Followed(name, event.stage)], may_migrate=True), left)

    def action_leave(self) -> None:
        self.dismiss(None)


def _mode(read: FramesRead) -> tuple[bool, int | None]:
    """Readings of the same mode have cells that can be compared."""
    return read.wanted.owners, read.wanted.only


def describe(frame: FrameDetail, marks: Glyphs) -> list[Piece]:
    """One frame in three lines. Pure."""
    state = frame.state
    pieces: list[Piece] = [
        (f" pfn {state.pfn}  ", "bold"), (letter(frame.kind, marks), ROLES[frame.kind]), (f" {NAMES[frame.kind]}", ""),
        ("  refcount ", "dim"), (str(state.refcount), "bold"), ("  mapcount ", "dim"), (str(state.mapcount), "bold"),
    ]  # fmt: skip
    if frame.slot is not None:
        pieces += [("  swap slot ", "dim"), (f"{frame.slot[0]}, used {frame.slot[1]}", "bold")]
    pieces += [("\n flags ", "dim"), (" ".join(state.flags) or "none", "")]
    for pid, name, address, pte in frame.mappers[:1]:
        pieces += [
            ("\n mapped by ", "dim"),
            (f"{pid} {printable(name, 20)}", "key"),
            (f" at {address:#x}  ", ""),
            (pte, "dim"),
        ]
    if state.mapcount > 1:
        pieces.append((f"  and {state.mapcount - 1} more", "dim"))
    return pieces if frame.mappers else [*pieces, ("\n nobody maps it", "dim")]
