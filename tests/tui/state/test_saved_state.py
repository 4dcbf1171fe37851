"""What is kept from one start to the next, and the user's own keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numatui.tui.key_table import all_keys
from numatui.tui.screens.help import HelpScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.state import saved_state as kept
from numatui.tui.state.saved_state import SavedState
from tests.tui.driver import driving


async def test_the_screen_comes_back_as_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "numatui" / "tui.json"
    async with driving() as app:
        await app.press("T", "I", "t", "H", "number_sign", "number_sign", "B", "f2", "down", "space", "enter")
        app.app.theme = "numatui-light"
        app.app.interval = 5.0
        await app.press("j")
        kept.save(path, app.app.left())
        columns = app.table.chosen_columns
        assert "state" in columns
    assert path.stat().st_mode & 0o777 == 0o600
    again = kept.load(path)
    assert (again.sort, again.descending, again.tree, again.hide_small, again.panel, again.theme, again.interval) == (
        "time", False, True, True, "off", "light", 5.0,
    )  # fmt: skip
    async with driving(kept=again) as app:
        assert app.app.theme == "numatui-light"
        assert app.table.listing.tree
        assert app.table.listing.scale == "log"
        assert app.table.sorted_by == ("time", False)
        assert app.table.chosen_columns == columns
        assert "TIME" in app.text()
        assert "node 0 " not in app.text()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["columns", "sort", "interval", "grouping", "tree"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_is_in_the_file_the_screen_starts(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    path = tmp_path_factory.mktemp("kept") / "tui.json"
    path.write_text(json.dumps(document))
    found = kept.load(path)
    assert 0.1 <= found.interval <= 3600
    assert found.grouping in ("", "user", "cgroup")
    assert all(isinstance(column, str) for column in found.columns)


def test_a_file_that_is_a_link_is_not_read_and_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.write_text('{"sort": "pid"}')
    path = tmp_path / "numatui" / "tui.json"
    path.parent.mkdir()
    os.symlink(target, path)
    assert kept.load(path) == SavedState()
    kept.save(path, SavedState(sort="user"))
    assert target.read_text() == '{"sort": "pid"}'
    assert kept.load(path).sort == "user"


def test_what_cannot_be_written_is_not_kept_and_what_is_in_the_way_stays(tmp_path: Path) -> None:
    in_the_way = tmp_path / "a" / "numatui"
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file")
    folder = tmp_path / "b" / "numatui" / "tui.json"
    folder.mkdir(parents=True)
    for path in (in_the_way / "tui.json", folder):
        kept.save(path, SavedState(sort="user"))
        assert kept.load(path) == SavedState()
    assert in_the_way.read_text() == "a file"
    assert sorted(one.name for one in folder.parent.iterdir()) == ["jobs", "tui.json"], "half-written files are left"
    kept.save(tmp_path / "numatui" / "tui.json", SavedState(sort="user"))
    assert kept.load(tmp_path / "numatui" / "tui.json").sort == "user", "where nothing is in the way it is kept"


async def test_keys_can_be_others() -> None:
    async with driving(keys={"migrate": "x", "help": "f12"}) as app:
        await app.press("m")
        assert not isinstance(app.app.screen, MigrateScreen)
        await app.press("x")
        await app.screen(MigrateScreen)
        await app.press("escape", "f12")
        await app.screen(HelpScreen)
        assert " x  Migrate" in app.text()


async def test_a_name_that_there_is_not_is_told() -> None:
    async with driving(keys={"migrat": "x"}, notifications=True) as app:
        assert "nothing is named migrat" in app.notifications()[0]


def test_every_key_of_the_main_screen_has_a_name() -> None:
    names = {name for name, _, _ in all_keys()}
    assert {
        "migrate",
        "edit-filter",
        "sort-rss",
        "tree",
        "help",
        "jobs",
        "quit",
        "cancel",
        "refresh-less",
    } <= names
