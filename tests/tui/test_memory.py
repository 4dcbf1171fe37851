"""Screens that were closed are gone: a terminal UI runs for weeks."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from textual.widget import Widget

from backend.emulator.scenario.open import open_scenario
from tests.tui.driver import Driver, driving

TIMES = int(os.environ.get("NUMATUI_TEST_OPENINGS", "5"))
"""How often each screen is opened. 200 take some minutes."""
SCREENS = {
    "nodes": ["n"], "advice": ["a"], "cgroups": ["c"], "log": ["l"], "help": ["question_mark"],
    "process": ["enter"], "history": ["enter", "i"], "sharers": ["enter", "w"], "migrate": ["m"],
    "presets": ["m", "s"], "columns": ["C"], "sort": ["f6"], "users": ["u"], "cpuset": ["c", "S"],
    "tour": ["ctrl+t"], "microscope": ["z"], "follow": ["z", "enter"], "scenarios": ["ctrl+o"],
    "palette": ["ctrl+p"],
}  # fmt: skip
HELD = 2
"""Screens that may be left: the last one, and that which the pool's thread worked for."""


async def open_and_close(app: Driver, keys: list[str]) -> list[weakref.ref[Widget]]:
    """The widgets that were there meanwhile."""
    table, kept = app.app.screen, set(app.app.screen.walk_children(with_self=True))
    for key in keys:
        await app.press(key)
    there: list[weakref.ref[Widget]] = []
    while app.app.screen is not table:
        there += [weakref.ref(one) for one in app.app.screen.walk_children(Widget, with_self=True)]
        await app.press("escape")
    assert len(there) > 1
    return [one for one in there if one() not in kept]


@pytest.mark.parametrize("keys", SCREENS.values(), ids=SCREENS)
async def test_a_screen_that_is_opened_again_and_again_leaves_nothing(keys: list[str]) -> None:
    # Each thread of the pool holds the screen that it worked for last (`active_worker` in worker.py).
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with driving(open_scenario(), size=(160, 50)) as app:
        closed = [await open_and_close(app, keys) for _ in range(TIMES)]

        def held() -> int:
            return sum(any(one() is not None for one in widgets) for widgets in closed)

        for _ in range(600):
            gc.collect()
            if held() <= HELD:
                break
            await app.pilot.pause(0.1)
        assert held() <= HELD


async def test_the_footer_lets_go_the_keys_that_it_showed() -> None:
    async with driving(open_scenario()) as app:
        seen: list[weakref.ref[Widget]] = []
        for _ in range(TIMES):
            await app.press("slash")
            seen += [weakref.ref(one) for one in app.app.screen.query("FooterKey")]
            await app.press("enter")
        gc.collect()
        there = {*app.app.screen.query("FooterKey")}
        assert sum(one() is not None and one() not in there for one in seen) <= len(seen) / TIMES
