"""The top line: machine, permissions, local share of memory, running jobs."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from backend.files.text import printable
from backend.kernel import Kernel
from backend.machine.load import Load
from numatui.format import age, percent
from numatui.tui.paint.paint import Paint, Piece
from numatui.tui.reading.machine import playback, simulated_time
from numatui.tui.reading.reader import Snapshot
from numatui.tui.state.state import state_of


class Header(Widget):
    """Shows state of the app. On a narrow screen the least important parts are dropped first."""

    _shown: object = None

    def on_mount(self) -> None:
        for name in ("snapshot", "job_ticks", "interval", "paused", "stalled", "speed"):
            self.watch(self.app, name, self._changed)
        self.app.theme_changed_signal.subscribe(self, lambda _: self.refresh())

    def _changed(self, *_: object) -> None:
        """Draws only what is new: most readings leave this line as it is."""
        pieces = self._pieces()
        if pieces != self._shown:
            self._shown = pieces
            self.refresh()

    def render(self) -> Text:
        return Paint.of(self.app).text(self._pieces())

    def _pieces(self) -> list[Piece]:
        width = self.size.width
        left, right = self._left(), self._right()
        for side, most, at in ((left, 5, -1), (right, 1, 0), (left, 3, -1), (right, 0, 0)):
            while len(side) > most and _length(left) + _length(right) + 2 > width:
                side.pop(at)
        pieces = [piece for group in left for piece in group]
        pieces.append((" " * max(1, width - _length(left) - _length(right) - 1), ""))
        return [*pieces, *(piece for group in right for piece in group)]

    def _left(self) -> list[list[Piece]]:
        app = state_of(self)
        kernel = app.kernel
        groups: list[list[Piece]] = [
            [(" numatui ", "bold")],
            [(" COPY ", "tag") if app.is_copy else (f" {kernel.source.upper()} ", kernel.source)],
            [(f" {_name(kernel)}", "bold")],
        ]
        snapshot = app.snapshot
        if snapshot is None:
            return [*groups, [("  reading …", "dim")]]
        groups.append([("  " + _count(len(snapshot.topology.nodes), "node"), "")])
        groups.append([("  " + may(snapshot, kernel.source), "" if snapshot.facts.privileged else "warn")])
        if snapshot.balancing:
            groups.append([("  NUMA balancing on", "warn")])
        if snapshot.facts.release:
            groups.append([("  Linux " + printable(snapshot.facts.release, 24), "dim")])
        return groups

    def _right(self) -> list[list[Piece]]:
        app = state_of(self)
        groups: list[list[Piece]] = []
        load = app.snapshot.load if app.snapshot is not None else None
        if load is not None:
            groups.append([(_busy(load) + "  ", "dim")])
        time = simulated_time(app.kernel)
        if app.stalled:
            groups.append([(f"reading for {app.stalled} s", "warn")])
        elif app.paused:
            groups.append([("refresh paused", "warn")])
        elif app.interval:
            groups.append([(f"every {app.interval:g} s", "dim")])
        recording = playback(app.kernel)
        if recording is not None:
            pace = f"  {recording.speed:g}x" if recording.speed else "  stands still"
            groups.append([(f"  sample {recording.at + 1}/{len(recording.samples)}", "bold"), (pace, "dim")])
        elif time is not None:
            groups.append([("  time stands still", "warn") if not time.speed else (f"  time {time.speed:g}x", "dim")])
        running = [job for job in app.jobs if not job.ended]
        if running:
            total = sum(job.total for job in running)
            share = sum(job.done for job in running) / total if total else 0.0
            groups.append([(f"  {_count(len(running), 'job')} {percent(share)}", "accent")])
        if app.snapshot is not None:
            share = app.snapshot.local
            groups.append(
                [
                    ("  local ", "dim"),
                    (percent(share), "far" if share is not None and share < 0.5 else "bold"),
                ]
            )
        return groups


def _name(kernel: Kernel) -> str:
    """As it names itself; another machine also as it was named here."""
    name = printable(kernel.name, 24)
    asked = str(getattr(kernel, "reference", "")).removesuffix(" --sudo") if kernel.source == "remote" else ""
    return f"{printable(asked, 32)} ({name})" if asked and asked.rpartition("@")[2] != kernel.name else name


def may(snapshot: Snapshot, source: str) -> str:
    """What the user may do, in a few words."""
    if source == "replay":
        return "read-only"
    move = snapshot.facts.can.get("move_pages"), snapshot.facts.can.get("migrate_pages")
    if not any(one is not None and one.available for one in move):
        return "read-only"
    if not snapshot.facts.privileged:
        return "by the helper" if snapshot.facts.helped else "own processes only"
    return "all processes" if snapshot.facts.uid else "root"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _busy(load: Load) -> str:
    """`load 1.25  cpu 40%  up 3 d`."""
    return f"load {load.average:.2f}  cpu {percent(load.cpu)}  up {age(load.uptime)}"


def _length(groups: list[list[Piece]]) -> int:
    return sum(len(text) for group in groups for text, _ in group)
