"""All text can be read, in every theme, on every screen; and colours are told apart by those who see fewer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.color import Color
from textual.geometry import Region
from textual.widgets import Input

from numatui import theming
from numatui.tui.paint.contrast import LEAST, ratio, readable, text_on
from numatui.tui.screens.dialogs.question import Question
from numatui.tui.screens.help import HelpScreen
from numatui.tui.screens.migrate import MigrateScreen
from numatui.tui.screens.process import ProcessScreen
from numatui.tui.widgets.node_map import NodeMap
from tests.tui.driver import Driver, driving

THEMES = sorted(path.stem for path in theming.shipped().glob("*.yaml"))
colors = st.builds(Color, st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


@given(colors)
def test_black_or_white_can_always_be_read(ground: Color) -> None:
    assert ratio(text_on(ground), ground) >= LEAST


@given(colors, colors.filter(lambda color: ratio(color, Color(255, 255, 255)) >= LEAST))
def test_a_colour_becomes_readable_on_a_dark_ground(color: Color, ground: Color) -> None:
    assert ratio(readable(color, [ground], dark=True), ground) >= LEAST


def test_known_contrasts() -> None:
    assert ratio(Color(0, 0, 0), Color(255, 255, 255)) == pytest.approx(21)
    assert ratio(Color.parse("#767676"), Color(255, 255, 255)) == pytest.approx(4.54, abs=0.01)


def unreadable(app: Driver, region: Region | None = None) -> set[str]:
    """What is shown with too little contrast: letters, digits and punctuation, not lines and bars."""
    out: set[str] = set()
    theme = app.app.current_theme
    ground, ink = Color.parse(theme.background or "#000000"), Color.parse(theme.foreground or "#ffffff")
    for y, strip in enumerate(app.app.screen._compositor.render_strips()):
        x = 0
        for segment in strip:
            if region is None or region.contains(x, y):
                style = segment.style
                shown = "".join(char for char in segment.text if char.isascii() and char.isprintable()).strip()
                if shown and style is not None:
                    back = Color.from_rich_color(style.bgcolor) if style.bgcolor else ground
                    front = Color.from_rich_color(style.color) if style.color else ink
                    if style.reverse:
                        back, front = front, back
                    if ratio(front, back) < LEAST:
                        out.add(f"{shown} {front.hex} on {back.hex}: {ratio(front, back):.1f}")
            x += segment.cell_length
    return out


@pytest.mark.parametrize("theme", THEMES)
async def test_all_text_of_the_screens_can_be_read(theme: str) -> None:
    async with driving(size=(140, 40), theme=theme) as app:
        await app.press("j", "space", "slash", *"train")
        assert not unreadable(app)
        await app.press("enter", "H", "F")
        assert not unreadable(app)
        await app.press("question_mark")
        await app.screen(HelpScreen)
        assert not unreadable(app, app.app.screen.query_one(".dialog").region)
        await app.press("escape", "enter")
        await app.screen(ProcessScreen)
        await app.until(lambda: "ADDRESS" in app.text())
        assert not unreadable(app)
        await app.press("m")
        await app.screen(MigrateScreen)
        screen = app.app.screen
        assert isinstance(screen, MigrateScreen)
        await app.until(lambda: screen.subjects is not None)
        screen.query_one("#from", Input).value, screen.query_one("#to", Input).value = "1", "2"
        await app.until(lambda: screen.plan is not None and screen.plan.warnings)
        assert not unreadable(app)
        screen.query_one(NodeMap).focus()
        await app.press("enter")
        await app.screen(Question)
        assert not unreadable(app, app.app.screen.query_one(".dialog").region)


def seen_by(color: Color, kind: str) -> tuple[float, float, float]:
    """As somebody with that kind of colour blindness sees it (Machado, Oliveira, Fernandes 2009, severity 1)."""
    matrix = {
        "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
        "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    }[kind]  # fmt: skip
    linear = [(part / 255) ** 2.2 for part in (color.r, color.g, color.b)]
    red, green, blue = (
        min(1.0, max(0.0, sum(weight * part for weight, part in zip(row, linear, strict=True)))) ** (1 / 2.2)
        for row in matrix
    )
    return red, green, blue


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_the_colour_blind_safe_theme_keeps_good_from_bad_and_the_first_nodes_apart(kind: str) -> None:
    theme = theming.load(theming.shipped() / "colour-blind-safe.yaml")
    nodes = [theme.variables[f"node-{index}"] for index in range(4)]
    pairs = [*itertools.combinations(nodes, 2), (theme.success, theme.error), (theme.success, theme.warning)]
    for one, other in pairs:
        first, second = seen_by(Color.parse(str(one)), kind), seen_by(Color.parse(str(other)), kind)
        assert sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5 > 0.15, (one, other)
