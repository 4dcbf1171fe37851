"""The fleet in the terminal UI: what is known of each host, opening one, the same move on many and back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from backend.errors import UsageError
from backend.fleet.carry_out import Ended, Task
from backend.fleet.reach import Answer
from backend.fleet.record import Moved, find
from backend.fleet.view import HostView, NodeFill
from backend.placement.numa_maps import read_placement
from numatui.format import percent
from numatui.tui.fleet.app import FleetApp, Kept
from numatui.tui.fleet.move_screen import FleetMoveScreen
from numatui.tui.fleet.reader import Fleet, FleetReader
from numatui.tui.fleet.rows import selection_of
from numatui.tui.fleet.screen import FleetScreen, HostTable
from numatui.tui.fleet.table import node_bars
from numatui.tui.paint.glyphs import UNICODE
from numatui.tui.screens.dialogs.question import Question
from tests.backend.fleet.emulated_hosts import EmulatedHosts
from tests.tui.driver import Driver

NAMES = ["db1", "db2", "db3"]


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_state: Path) -> Iterator[EmulatedHosts]:
    one = EmulatedHosts(tmp_path, NAMES, "scheduler-moves")
    monkeypatch.setenv("NUMATUI_SSH", str(one.ssh))
    yield one
    one.end()


class FleetDriver(Driver):
    app: FleetApp  # type: ignore[assignment]

    def row(self, host: str) -> str:
        """The line of a host."""
        return next(line for line in self.lines() if line[1:].startswith(host) or line.startswith(host))

    @property
    def cursor(self) -> str:
        row = self.app.screen.query_one(HostTable).current
        return row.host if row is not None else ""

    async def all_known(self) -> None:
        await self.until(
            lambda: all(row.error or row.memory is not None for row in self.app.rows.values()), "all hosts are known"
        )
        await self.until(lambda: self.app._draw is None)

    async def type(self, text: str) -> None:
        await self.pilot.press(*("space" if one == " " else one for one in text))


@asynccontextmanager
async def driving(
    names: list[str] = NAMES, size: tuple[int, int] = (140, 34), timeout: float = 60, before: Kept | None = None
) -> AsyncIterator[FleetDriver]:
    app = FleetApp(Fleet("db[1-3]", names, False, 8, timeout), interval=0, before=before)
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = FleetDriver(app, pilot)  # type: ignore[arg-type]
        yield driver


def placed(hosts: EmulatedHosts) -> dict[str, dict[int, int]]:
    return {name: read_placement(kernel, 3).bytes_by_node for name, kernel in hosts.kernels.items()}


async def plan(app: FleetDriver, which: str = "oltp", rolling: str = "") -> None:
    """From the fleet screen to a plan for all hosts."""
    await app.press("asterisk", "m")
    await app.screen(FleetMoveScreen)
    await app.type(which)
    await app.press("tab")
    await app.type("1")
    await app.press("tab")
    await app.type("3")
    if rolling:
        app.app.screen.query_one("#rolling", Input).value = rolling
    await app.press("enter")
    screen = app.app.screen
    assert isinstance(screen, FleetMoveScreen)
    await app.until(lambda: "asking" not in app.text(), "all have said what they would do")


async def carry_out(app: FleetDriver) -> FleetMoveScreen:
    screen = app.app.screen
    assert isinstance(screen, FleetMoveScreen)
    await app.press("enter")
    await app.screen(Question)
    await app.press("y")
    await app.until(lambda: screen.ended is not None or "nothing was done:" in app.text(), "the end")
    return screen


class TestLooking:
    async def test_a_line_a_host(self, hosts: EmulatedHosts) -> None:
        async with driving([*NAMES, "off1"]) as app:
            await app.all_known()
            assert "3 of 4 hosts" in app.text()
            assert "1 does not answer" in app.text()
            assert "1.9G" in app.row("db1")
            there = app.app.rows["db2"].memory
            assert there is not None
            assert f"{percent(there.local)} " in app.row("db2")
            assert "cannot be reached: ssh: connect" in app.row("off1")
            await app.press("end")
            assert "try: ssh off1" in app.text()  # the whole of it is below
            await app.press("home")
            assert "oltp" in app.text()

    async def test_one_that_hangs_holds_nobody_up(self, hosts: EmulatedHosts) -> None:
        def silent(one: socket.socket) -> None:
            time.sleep(600)

        hosts.serve("db9", silent)
        async with driving(["db9", *NAMES], timeout=3) as app:
            await app.all_known()
            assert "within 3 seconds" in app.text()
            assert "3 of 4 hosts" in app.text()

    async def test_names_that_are_hostile(self, hosts: EmulatedHosts) -> None:
        def noise(one: socket.socket) -> None:
            one.sendall(b'{"numatui-agent": 1, "refused": ["[red]\\u001b[2Jboo", "x"]}\n')

        hosts.serve("db8", noise)
        async with driving(["db8"]) as app:
            await app.all_known()
            assert "\x1b" not in app.text()
            assert "[red]" in app.text()

    async def test_order_filter_and_tags(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await app.all_known()
            for _ in range(6):
                await app.press("greater_than_sign")
            assert "by host" in app.text()
            await app.press("slash")
            await app.type("!db2")
            await app.press("enter")
            assert [row.host for row in app.app.screen.query_one(HostTable).rows] == ["db1", "db3"]
            await app.press("asterisk")
            assert "2 tagged" in app.text()
            await app.press("escape")
            assert len(app.app.screen.query_one(HostTable).rows) == 3
            await app.press("escape")
            assert "tagged" not in app.text()

    async def test_refresh_now_asks_again(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await app.all_known()
            before = dict(app.app.rows)
            await app.press("r")
            await app.until(
                lambda: all(app.app.rows[name].memory_at > before[name].memory_at for name in NAMES), "a new look"
            )

    async def test_what_was_known_is_there_after_a_host_was_opened(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await app.all_known()
            await app.press("space", "down", "enter")
            await app.until(lambda: app.app.opened == "db3", "db3 is opened")
            first = app.app.kept()
        async with driving(before=first) as again:
            await again.until(lambda: again.cursor == "db3", "the cursor on the host that was opened")
            assert "1.9G" in again.row("db1")
            assert "1 tagged" in again.text()

    async def test_help_and_pause(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await app.press("question_mark")
            assert "USED BY NODE" in app.text()
            assert "Open this host" in app.text()
            await app.press("escape", "p")
            assert "paused" in app.text()


class TestMoving:
    async def test_there_and_back(self, hosts: EmulatedHosts) -> None:
        before = placed(hosts)
        async with driving() as app:
            await app.all_known()
            await plan(app)
            assert "3 processes on 3 hosts" in app.text()
            assert placed(hosts) == before
            screen = await carry_out(app)
            assert screen.ended is not None
            assert screen.ended.fine
            assert all(not one.get(1) for one in placed(hosts).values())
            await app.press("u")
            await app.until(lambda: isinstance(app.app.screen, FleetMoveScreen) and app.app.screen.planned, "the plan")
            await carry_out(app)
            assert placed(hosts) == before
            await app.press("enter")
            await app.screen(FleetScreen)
            await app.press("u")
            assert "no fleet job to take back" in app.text()

    async def test_no_means_no(self, hosts: EmulatedHosts) -> None:
        before = placed(hosts)
        async with driving() as app:
            await plan(app)
            await app.press("enter")
            await app.screen(Question)
            await app.press("n")
            assert placed(hosts) == before

    async def test_what_was_typed_after_the_plan_is_planned_first(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await plan(app)
            screen = app.app.screen
            assert isinstance(screen, FleetMoveScreen)
            screen.query_one("#which", Input).value = "match:*init*"
            await app.pilot.pause()
            assert not screen.planned

    async def test_the_first_surprise_ends_it(self, hosts: EmulatedHosts) -> None:
        def cut_off(one: socket.socket) -> None:
            one.close()

        async with driving() as app:
            await plan(app)
            # db2 goes away between plan and move
            (hosts.folder / "db2").unlink()
            hosts.serve("db2", cut_off)
            screen = await carry_out(app)
            assert screen.ended is not None
            assert not screen.ended.fine
            assert screen.ended.left == ["db3"]
            assert "ended by a surprise" in app.text()
            assert "nothing was done" in app.row("db3")
            assert set(find(None).jobs) == {"db1"}

    @pytest.mark.parametrize("rolling", ["0", "x", "-1", "99999999"])
    async def test_a_wrong_number_of_hosts(self, hosts: EmulatedHosts, rolling: str) -> None:
        async with driving() as app:
            await plan(app, rolling=rolling)
            assert "no number of hosts" in app.text()

    async def test_what_is_missing_is_said(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await app.press("m", "enter")
            assert "From is empty" in app.text()

    async def test_nobody_has_such_a_process(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await plan(app, "match:nobody")
            assert "there is no such process" in app.row("db1")

    async def test_a_job_of_the_same_number_that_is_another_one(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await plan(app)
            await carry_out(app)
            others = (hosts.state("db1") / "jobs" / "1.job").read_bytes()
            (hosts.state("db2") / "jobs" / "1.job").write_bytes(others)
            await app.press("u")
            await app.until(lambda: "asking" not in app.text(), "the plan")
            assert "another one now" in app.row("db2")

    async def test_two_enters_at_once_move_nothing(self, hosts: EmulatedHosts) -> None:
        before = placed(hosts)
        async with driving() as app:
            await plan(app)
            for _ in range(2):
                app.app.post_message(events.Key("enter", None))
            for _ in range(20):
                await app.pilot.pause(0.01)
            screen = next(one for one in app.app.screen_stack if isinstance(one, FleetMoveScreen))
            assert not screen.running
            assert screen.ended is None
            assert placed(hosts) == before

    async def test_x_cancels_wherever_the_cursor_was(self, hosts: EmulatedHosts, monkeypatch: Any) -> None:
        seen: list[bool] = []

        def held(task: Task, cancel: threading.Event, *_: Any) -> Ended:
            seen.append(cancel.wait(30))
            return Ended("1", {}, list(task.hosts), False)

        monkeypatch.setattr("numatui.tui.fleet.move_screen.carry_out", held)
        async with driving() as app:
            await plan(app)
            app.app.screen.query_one("#rolling", Input).focus()
            await app.press("enter")
            await app.screen(Question)
            await app.press("y")
            await app.until(lambda: "at work" in app.text(), "it is at work")
            assert app.app.jobs_run()
            await app.press("x")
            await app.until(lambda: bool(seen), "the cancel")
            await app.until(lambda: "cancelled" in app.text(), "the end")
            assert seen == [True]
            assert not app.app.jobs_run()

    async def test_hosts_of_which_nothing_is_known_are_named(self, hosts: EmulatedHosts) -> None:
        moved = Moved("7", 1.0, False, "migrate 0 → 1", ["db1", "db2"], {"db1": "3"}, {"db1": 0.0})
        async with driving() as app:
            app.app.push_screen(FleetMoveScreen(app.app.fleet, [], moved))
            await app.until(lambda: "there is no job" in app.text(), "the plan")
            assert "what was done there is not known here" in app.row("db2")

    async def test_other_words_take_the_old_plan_away(self, hosts: EmulatedHosts) -> None:
        async with driving() as app:
            await plan(app)
            app.app.screen.query_one("#to", Input).value = "2"
            await app.pilot.pause()
            assert "nothing moves yet" in app.text()
            assert "26M" not in app.row("db1")


class TestReader:
    def reader(self, count: int, fanout: int = 64) -> FleetReader:
        names = [f"h{number}" for number in range(count)]
        return FleetReader(Fleet("h", names, False, fanout, 60), lambda _: None, 10.0)

    def test_one_that_hangs_keeps_nobody_from_being_asked_again(self) -> None:
        reader = self.reader(3)
        hosts, _ = reader._whose_turn(1000.0)
        assert hosts == ["h0", "h1", "h2"]
        reader._heard(Answer("h0"))
        reader._heard(Answer("h2"))
        reader._answered.update(h0=1001.0, h2=1002.0)
        assert reader._whose_turn(1005.0)[0] == []
        assert reader._whose_turn(1012.0)[0] == ["h0", "h2"]

    def test_late_ones_take_no_places(self) -> None:
        reader = self.reader(10, fanout=4)
        assert len(reader._whose_turn(1000.0)[0]) == 4
        assert reader._whose_turn(1005.0)[0] == []
        assert len(reader._whose_turn(1020.0)[0]) == 4

    def test_also_hosts_behind_dead_ones_are_looked_at(self) -> None:
        """Sixteen that never answer must not have all the turns of those that are not seen."""
        reader = self.reader(40)
        looked: set[str] = set()
        now = 1000.0
        for _ in range(4):
            hosts, wanted = reader._whose_turn(now)
            looked |= wanted
            for host in hosts:
                reader._heard(Answer(host))
                reader._answered[host] = now
            now += 10.0
        assert len(looked) == 40

    def test_paused_asks_only_when_told_to(self) -> None:
        reader = self.reader(2)
        for host in reader._whose_turn(1000.0)[0]:
            reader._heard(Answer(host))
        reader.paused = True
        assert reader._whose_turn(1e9)[0] == []
        reader.ask()
        assert reader._whose_turn(1e9)[0] == ["h0", "h1"]

    def test_what_was_asked_before_a_move_is_asked_again(self) -> None:
        reader = self.reader(1)
        reader._whose_turn(1000.0)
        reader.ask(["h0"])
        reader._heard(Answer("h0"))
        assert reader._whose_turn(1000.1) == (["h0"], frozenset({"h0"}))


def test_a_host_that_says_more_is_free_than_there_is() -> None:
    view = HostView("6.1", 1, (NodeFill(0, 4096, 9 * 10**18), NodeFill(1, 4096, 0)), None, False, 0, 0, "")
    assert sum(len(text) for text, _ in node_bars(view, 43, UNICODE)) <= 43


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("match:ora_*", lambda one: one.match == ("ora_*",)),
        ("unit:a unit:b min:1G", lambda one: one.unit == ("a", "b") and one.minimum == 1 << 30),
        ("mysqld", lambda one: one.patterns == ("mysqld",)),
    ],
)
def test_words_that_select(text: str, check: Callable[[Any], bool]) -> None:
    assert check(selection_of(text))


@pytest.mark.parametrize("text", ["", "   ", "far>1G:2", "local:1", "match:", "min:x", "min:0"])
def test_words_that_do_not(text: str) -> None:
    with pytest.raises(UsageError):
        selection_of(text)
