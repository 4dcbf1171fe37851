"""The microscope: a map of the frames of a node, with zoom from the whole node to one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from backend.emulator.inspect.frame_map import FrameDetail, Kind, mapper
from backend.emulator.study.follow import Stage
from backend.files.text import printable
from numatui.format import size
from numatui.tui.keys import bindings, digits
from numatui.tui.paint.frame_kinds import NAMES, ROLES, legend, letter
from numatui.tui.paint.glyphs import Glyphs, glyphs
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.emulated import emulated
from numatui.tui.reading.frame_source import FrameSource, FramesRead
from numatui.tui.reading.reader import problem_of
from numatui.tui.screens.study.follow import Followed, FollowScreen
from numatui.tui.state.state import state_of
from numatui.tui.widgets.footer import KeyFooter
from numatui.tui.widgets.frame_map import FrameMap
from numatui.tui.widgets.header import Header

if TYPE_CHECKING:
    from backend.emulator.machine import Machine

REFRESH = 0.25  # seconds between readings while time runs


@dataclass
class FramesSeen(Message):
    """Frames were read."""

    seen: FramesRead


@dataclass
class FollowReady(Message):
    """The stage on which a page can be followed, or the error. `speed`: simulated time before it stopped."""

    stage: Stage | None
    speed: float = 0.0
    problem: str = ""


class MicroscopeScreen(Screen[None]):
    """Reads again while simulated time runs, at most one reading at a time."""

    BINDINGS: ClassVar = [
        *bindings("microscope"),
        *digits("number", "Node by number"),
    ]

    def __init__(self, source: FrameSource) -> None:
        super().__init__()
        self.source = source
        self.nodes = [node for node, (_, pages) in source.zones.items() if pages]
        self.current = self.nodes[0]
        self.seen: FramesRead | None = None
        self._busy = self._due = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return emulated(state_of(self).kernel) is not None if action == "follow" else True

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static(id="title", markup=False)
        yield FrameMap(id="frames")
        yield Static(id="detail", markup=False)
        yield Static(id="legend", markup=False)
        yield KeyFooter()

    @property
    def map(self) -> FrameMap:
        return self.query_one(FrameMap)

    def on_mount(self) -> None:
        self.map.focus()
        self.set_interval(REFRESH, self._tick)
        # The map has a size only after the first layout.
        self.call_after_refresh(self._choose, self.current)

    def _tick(self) -> None:
        if self.is_current and (self.seen is None or self.source.changed(self.seen)):
            self._ask()

    def _choose(self, node: int) -> None:
        self.current = node
        self.map.node(*self.source.zones[node])

    def on_frame_map_moved(self) -> None:
        self._title()
        self._ask()

    def _ask(self) -> None:
        """Requests a reading. A request during a reading causes one more afterwards."""
        self._due = self._busy
        if not self._busy and self.map.pages:
            self._busy = True
            first, count = self.map.cell
            self._look(self.map.visible, self.map.shift, first if count == 1 else -1)

    @work(thread=True, group="microscope", exit_on_error=False)
    def _look(self, visible: tuple[int, int], shift: int, pfn: int) -> None:
        try:
            self.post_message(FramesSeen(self.source.look(visible, shift, pfn)))
        except Exception as exc:
            self.post_message(FollowReady(None, problem=problem_of(exc)))

    def on_frames_seen(self, event: FramesSeen) -> None:
        self.seen, self._busy = event.seen, False
        self.map.show(event.seen.cells)
        self._title()
        paint, marks = Paint.of(self.app), glyphs()
        self.query_one("#legend", Static).update(
            paint.text(legend(event.seen.cells.counts.tolist(), self.size.width, marks))
        )
        self.query_one("#detail", Static).update(paint.text(self._detail(event.seen, marks)))
        if self._due:
            self._ask()

    def _title(self) -> None:
        frames, page = self.map, self.source.page_size
        per_cell = 1 << frames.shift
        pieces: list[Piece] = [
            (f" Node {self.current}", "bold"),
            (f"  {frames.pages:,} frames of {size(page)}", ""),
            (f"  a cell is {per_cell:,} frame{'s' * (per_cell > 1)}, {size(per_cell * page)}", "key"),
        ]
        if self.seen is not None:
            pieces.append((f"  at {self.seen.now:.3f} s", "dim"))
        self.query_one("#title", Static).update(Paint.of(self.app).text(pieces))

    def _detail(self, event: FramesRead, marks: Glyphs) -> list[Piece]:
        first, count = self.map.cell
        if event.cursor is not None and event.cursor.state.pfn == first:
            return describe(event.cursor, marks)
        at = (first - event.cells.first) >> event.cells.shift
        if event.cells.shift != self.map.shift or not 0 <= at < len(event.cells.kinds):
            return []
        kind = Kind(int(event.cells.kinds[at]))
        return [
            (f" pfn {first} to {first + count - 1}  " if count > 1 else f" pfn {first}  ", "bold"),
            (letter(kind, marks), ROLES[kind]),
            (f" {NAMES[kind]}", ""),
            ("  zoom in with + to see each frame\n\n" if count > 1 else "  a recording tells no more of it\n\n", "dim"),
        ]

    def action_zoom(self, step: int) -> None:
        self.map.action_zoom(step)

    def action_node(self, step: int) -> None:
        self._choose(self.nodes[(self.nodes.index(self.current) + step) % len(self.nodes)])

    def action_number(self, node: int) -> None:
        if node in self.nodes:
            self._choose(node)

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
