"""The app that shows a fleet. A host that is opened ends it; `numatui.tui.start` shows that host, and the fleet again
after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.timer import Timer

from backend.fleet import carry_out
from numatui import theming
from numatui.tui.fleet.move_screen import AllEnded, Work
from numatui.tui.fleet.reader import Fleet, FleetReader, HostRead
from numatui.tui.fleet.rows import HostRow
from numatui.tui.fleet.screen import FleetScreen
from numatui.tui.keys import bindings
from numatui.tui.palette_app import PaletteApp
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.help import HelpScreen

_ROOM = Path(__file__).parents[1]
INTERVALS = (2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds between two rounds that the keys offer."""
USUAL = 10.0
_DRAWN = 0.2
"""Seconds between two drawings while answers come in."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept while a host is shown, which is `opened`."""

    rows: dict[str, HostRow]
    interval: float
    paused: bool
    order: str
    wanted: str
    tagged: frozenset[str]
    opened: str


class FleetApp(PaletteApp):
    """`before`: from before a host was opened. `notice`: told at start. `opened`: the host to show next. `works`: moves
    that are under way, or have ended."""

    TITLE = "numatui fleet"
    CSS_PATH: ClassVar = [
        *sorted((_ROOM / "widgets").glob("*.tcss")),
        *sorted((_ROOM / "screens").rglob("*.tcss")),
        *sorted((_ROOM / "fleet").glob("*.tcss")),
    ]
    ENABLE_COMMAND_PALETTE = True
    GRACE = carry_out.GRACE
    BINDINGS: ClassVar = bindings("fleet-app")

    def __init__(
        self,
        fleet: Fleet,
        theme: str | None = None,
        own_themes: Path | None = None,
        problem: str = "",
        keys: Mapping[str, str] | None = None,
        interval: float = USUAL,
        before: Kept | None = None,
        notice: str = "",
    ) -> None:
        super().__init__()
        self.fleet, self.problem, self.wanted_keys, self.notice = fleet, problem, keys or {}, notice
        self.config_theme = theme
        self.opened = ""
        self.rows: dict[str, HostRow] = {host: HostRow(host) for host in fleet.hosts}
        self.reader = FleetReader(fleet, self.post_message, interval)
        self.main = FleetScreen()
        if before is not None:
            self.rows.update(before.rows)
            self.reader.interval, self.reader.paused = before.interval, before.paused
            self.main.go_on(before.order, before.wanted, before.tagged, before.opened)
        self.works: list[Work] = []
        self._draw: Timer | None = None
        self.dress(theme or theming.DEFAULT, own_themes)

    def on_mount(self) -> None:
        self.put_on()
        self.push_screen(self.main)
        self.reader.start({row.host: row.memory_at for row in self.rows.values() if row.memory is not None})
        if self.notice:
            self.tell(self.notice, severity="warning")
        if self.problem:
            self.tell(self.problem, severity="error")

    def kept(self) -> Kept:
        main = self.main
        return Kept(self.rows, self.reader.interval, self.reader.paused, main.order, main.wanted,
                    frozenset(main.tagged), self.opened)  # fmt: skip

    def on_unmount(self) -> None:
        self.reader.end()
        self.cancel_jobs()

    def on_host_read(self, event: HostRead) -> None:
        one = event.answer
        old = self.rows[one.host]
        if one.value is not None:
            self.rows[one.host] = old.heard(*one.value, event.at)
        else:
            self.rows[one.host] = old.failed(str(one.error))
        if self._draw is None:
            self._draw = self.set_timer(_DRAWN, self.draw)

    def on_all_ended(self, event: AllEnded) -> None:
        """Memory was moved: what is shown of these hosts is of before."""
        self.reader.ask(event.hosts)

    def draw(self) -> None:
        self._draw = None
        top = self.screen_stack[-1] if self.screen_stack else None  # none: the app has ended meanwhile
        if isinstance(top, FleetScreen):
            top.show()

    def open_host(self, host: str) -> None:
        self.opened = host
        self.exit(0)

    def cancel_jobs(self) -> None:
        for one in self.works:
            one.cancel.set()

    def jobs_run(self) -> bool:
        return any(not one.done.is_set() for one in self.works)

    async def action_quit(self) -> None:
        if not self.jobs_run():
            self.exit(0)
            return
        self.push_screen(Question("Hosts are moving memory.", ["Each ends the call that it is in."], "Cancel and quit"),
                         self._quit)  # fmt: skip

    def _quit(self, yes: bool | None) -> None:
        if yes:
            self.cancel_jobs()
            self.exit(0)

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            about = getattr(self.screen, "READING", ())
            self.push_screen(HelpScreen(list(self.screen.active_bindings.values()), about))

    def action_pause(self) -> None:
        self.reader.paused = not self.reader.paused
        self.draw()

    def action_reread(self) -> None:
        self.reader.ask()

    def action_refresh(self, step: int) -> None:
        choices = INTERVALS if step > 0 else INTERVALS[::-1]
        self.reader.interval = next((one for one in choices if (one - self.reader.interval) * step > 0), choices[-1])
        self.draw()
