"""The user's own settings and themes, right and wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.errors import ParseError
from backend.files.walk import Untrusted
from numatui import config, theming
from numatui.tui.key_table import all_keys
from tests import ROOT
from tests.tui.driver import driving


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    assert config.load(tmp_path / "none.yaml") == config.Config()


def test_a_file_may_set_some(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("theme: light\n")
    assert config.load(path) == config.Config("light")
    for text in ("", "# theme: light\n\n"):
        path.write_text(text)
        assert config.load(path) == config.Config()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("themes: light", "1: themes: unknown key 'themes'; known here: theme, interval, keys, animation"),
        ("# mine\ninterval: fast", "2: interval: 'fast' is not a time"),
        ("interval: 0", "1: interval: is not from 0.1 to 3600 seconds"),
        ("interval: true", "1: interval: 'true' is not a time"),
        ("theme: [a]", "1: theme: must be text"),
        ("- a", "must be a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ParseError) as caught:
        config.load(path)
    assert part in str(caught.value)
    assert "config.yaml" in str(caught.value)


def test_motion_can_be_turned_off(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert config.load(path).animation
    path.write_text("animation: off\n")
    assert not config.load(path).animation


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_root_uses_nothing_of_another_users_home(tmp_path: Path) -> None:
    """`sudo -E` keeps HOME: keys and themes there are the user's to change."""
    (tmp_path / "config.yaml").write_text("keys: {migrate: q}\n")
    (tmp_path / "mine.yaml").write_text((theming.shipped() / "light.yaml").read_text())
    os.chown(tmp_path, 1000, 1000)
    assert config.load(tmp_path / "none.yaml") == config.Config()
    with pytest.raises(Untrusted, match="belongs to another user"):
        config.load(tmp_path / "config.yaml")
    async with driving(theme="mine", own_themes=tmp_path) as app:
        assert app.app.theme == "numatui-dark"
        assert "belongs to another user" in app.notifications()[0]


async def test_own_themes_come_beside_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((theming.shipped() / "light.yaml").read_text())
    (tmp_path / "broken.yaml").write_text("dark: 1")
    async with driving(theme="mine", own_themes=tmp_path) as app:
        assert app.app.theme == "numatui-mine"
        assert "broken.yaml" in app.notifications()[0]


async def test_a_theme_that_is_not_there_is_told() -> None:
    async with driving(theme="nope") as app:
        assert app.app.theme == "numatui-dark"
        assert "there is no theme nope" in app.notifications()[0]


async def test_another_theme_repaints_everything() -> None:
    async with driving() as app:

        def backgrounds() -> set[str]:
            strips = app.app.screen._compositor.render_strips()
            styles = [segment.style for strip in strips for segment in strip]
            return {style.bgcolor.name for style in styles if style is not None and style.bgcolor is not None}

        assert {"#10141a", "#202938"} <= backgrounds(), "those of the dark theme are seen before"
        dark = backgrounds()
        app.app.theme = "numatui-light"
        await app.until(lambda: "#fbfbf8" in backgrounds())
        assert not dark & backgrounds()
        assert {"#fbfbf8", "#e2e3dd"} <= backgrounds()


def test_the_documentation_is_right(tmp_path: Path) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    config_text, theme_text = (part.partition("```")[0] for part in text.split("```yaml")[1:])
    path = tmp_path / "mine.yaml"
    path.write_text(theme_text)
    assert theming.load(path).name == "numatui-mine"
    path = tmp_path / "config.yaml"
    path.write_text(config_text)
    found = config.load(path)
    assert found.theme == "dark"
    assert set(found.keys) == {"migrate", "edit-filter"}
    assert set(found.keys) <= {name for name, _, _ in all_keys()}
