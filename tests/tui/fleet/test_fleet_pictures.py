"""Pictures of the fleet's screens, compared with those that were looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backend.fleet.view import FarProcess, HostMemory, HostView, NodeFill
from numatui.tui.fleet.app import FleetApp
from numatui.tui.fleet.move_screen import FleetMoveScreen, PlanRow
from numatui.tui.fleet.reader import Fleet, FleetReader
from numatui.tui.fleet.rows import HostRow

Compare = Callable[..., bool]
G = 1 << 30


def a_host(name: str, number: int, nodes: int = 4, **changed: Any) -> HostRow:
    fills = tuple(NodeFill(one, 64 * G, (7 * (number + 3 * one)) % 60 * G + G) for one in range(nodes))
    view = HostView("6.12.9", 32 * nodes, fills, number % 5 / 20, number % 3 == 0, number % 4, number % 2, "done")
    worst = tuple(FarProcess(1000 * number + one, f"postgres: 16/main: worker {one}", 9 * G, (5 - one) * G)
                  for one in range(number % 4))  # fmt: skip
    far = sum(one.far for one in worst)
    return HostRow(name, view, HostMemory(300 + number, number % 2, 90 * G, far, 1 - far / (90 * G), worst), 0.0)


def a_fleet(monkeypatch: pytest.MonkeyPatch) -> FleetApp:
    """Whose hosts are not asked."""
    monkeypatch.setattr(FleetReader, "start", lambda *_: None)
    monkeypatch.setattr("numatui.tui.fleet.screen.monotonic", lambda: 12.0)
    names = [*(f"db{number}" for number in range(1, 9)), "web1.example.org", "big", "off", "new"]
    app = FleetApp(Fleet("db[1-8],@others", names, True, 8, 60), interval=10)
    for number, name in enumerate(names):
        app.rows[name] = a_host(name, number, 16 if name == "big" else 2 if name == "db4" else 4)
    app.rows["off"] = HostRow("off", error="off cannot be reached: ssh: connect to host off port 22: No route to host; "
                              "try: ssh off python3 --version")  # fmt: skip
    app.rows["new"] = HostRow("new")
    return app


@pytest.mark.parametrize("size", [(80, 24), (160, 40)])
def test_the_fleet(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        await pilot.press("space", "space", "down")
        await pilot.pause()

    assert snap_compare(a_fleet(monkeypatch), terminal_size=size, run_before=run)


@pytest.mark.parametrize("size", [(80, 24), (160, 40)])
def test_a_move(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await pilot.press("asterisk", "m")
        await pilot.pause()
        screen = pilot.app.screen
        assert isinstance(screen, FleetMoveScreen)
        for name, text in (("which", "unit:postgresql"), ("from", "0-1"), ("to", "2-3"), ("rolling", "2")):
            screen.query_one(f"#{name}", Input).value = text
        await pilot.pause()
        states = [
            ("done: 12G moved, job 3", "good"),
            ("moving …", "accent"),
            ("to do", "dim"),
            ("nothing to do", "dim"),
        ]
        for number, host in enumerate(screen.hosts):
            screen.rows[host] = PlanRow(host, None, states[number % len(states)])
        screen.running = True
        screen.refresh_bindings()
        screen._say([(" 96G of 12 processes on 9 hosts: at work", "accent"), ("  x cancels", "dim")])
        await pilot.pause()

    assert snap_compare(a_fleet(monkeypatch), terminal_size=size, run_before=run)
