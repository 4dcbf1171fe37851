"""With sixteen colours: each node has one of its own, and the cursor is seen."""

from __future__ import annotations

import itertools

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style

from numatui import theming
from numatui.tui.paint.paint import Paint
from numatui.tui.paint.sixteen import sixteen

NODES = range(8)


def shown(color: Color | None) -> int | None:
    """Which of the sixteen the terminal gets."""
    return None if color is None else color.downgrade(ColorSystem.STANDARD).number


def look(style: Style) -> tuple[int | None, int | None]:
    return shown(style.color), shown(style.bgcolor)


@pytest.mark.parametrize("kind", ["here", "node", "ink", "fill"])
@pytest.mark.parametrize("dark", [True, False])
def test_nodes_stay_apart(kind: str, dark: bool) -> None:
    looks = [look(sixteen(f"{kind}:{node}", dark)) for node in NODES]
    assert len(set(looks)) == len(NODES)


@pytest.mark.parametrize("node", NODES)
def test_where_it_runs_is_told_from_where_it_does_not(node: int) -> None:
    assert look(sixteen(f"here:{node}", True)) != look(sixteen(f"away:{node}", True))


@pytest.mark.parametrize(
    "role",
    [f"{kind}:{node}" for kind in ("here", "away", "node", "kind") for node in NODES]
    + [f"shade:{node}.{step}" for node in NODES for step in range(4)]
    + [f"heat:{step}" for step in range(10)]
    + ["head", "sorted", "live", "demo", "replay", "cursor"],
)
@pytest.mark.parametrize("dark", [True, False])
def test_text_is_never_the_colour_of_its_ground(role: str, dark: bool) -> None:
    front, ground = look(sixteen(role, dark))
    assert None not in (front, ground)
    assert front != ground


def test_the_cursor_is_seen() -> None:
    cursor, blurred = (look(sixteen(role, True))[1] for role in ("cursor", "blurred"))
    black = 0
    assert len({cursor, blurred, black}) == 3


def test_the_themes_own_colours_would_run_into_each_other() -> None:
    """Why there are others: the nearest of sixteen is the same for several nodes."""
    theme = theming.load(theming.shipped() / "dark.yaml")
    paint = Paint(theme.variables, True)
    looks = [shown(paint.style(f"fill:{node}").color) for node in NODES]
    assert any(a == b for a, b in itertools.combinations(looks, 2))
    few = Paint(theme.variables, True, sixteen=True)
    assert len({shown(few.style(f"fill:{node}").color) for node in NODES}) == len(NODES)
