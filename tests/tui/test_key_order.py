"""Keys that come faster than they are worked on are worked on in order, by what has the focus then."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual import events

from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.processes import ProcessesScreen
from tests.tui.driver import Driver, driving

NAMES = {" ": "space", "/": "slash", "<": "less_than_sign"}


def burst(app: Driver, *keys: str) -> None:
    """All at once, as a terminal sends what was pasted."""
    for key in keys:
        app.app.post_message(events.Key(NAMES.get(key, key), key if len(key) == 1 else None))


async def test_what_is_pasted_after_a_slash_is_a_filter_and_no_commands() -> None:
    async with driving() as app:
        burst(app, "/", *"redis qMUPxT")
        await app.until(lambda: app.table.listing.filter.text == "redis qMUPxT")
        assert app.table.listing.sort == "rss"
        assert app.app.is_running


async def test_a_whole_command_at_once() -> None:
    async with driving() as app:
        burst(app, "/", *"train", "enter", "m")
        await app.screen(MigrateScreen)
        assert isinstance(app.app.screen, MigrateScreen)
        assert [one.pid for one in app.app.screen.processes] == [2100]
        await app.press("escape")
        await app.screen(ProcessesScreen)


async def test_keys_go_on_when_the_screen_that_had_one_is_gone() -> None:
    async with driving() as app:
        for _ in range(5):
            burst(app, "question_mark", "escape", "n", "escape", "enter", "escape", "j")
            await app.until(lambda: isinstance(app.app.screen, ProcessesScreen) and not app.app._keys)
        burst(app, "home")
        await app.until(lambda: app.table.cursor == 0)


@pytest.mark.parametrize("rounds", [3])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("abcdqmnlcptuv<>/ 0123", min_size=1, max_size=25))
async def test_any_text_arrives_whole(rounds: int, text: str) -> None:
    async with driving() as app:
        burst(app, "/", *text)
        await app.until(lambda: app.table.listing.filter.text == text)
