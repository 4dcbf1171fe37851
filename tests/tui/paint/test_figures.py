"""Whoever is better is coloured so, whichever run it is."""

from __future__ import annotations

import pytest

from backend.emulator.study.tour import FIGURES
from numatui.tui.paint.figures import MORE_IS_BETTER, verdict


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("seconds", ["good", "warn", "far"]), ("pages_not_moved", ["good", "warn", "far"]),
        ("pages_arrived", ["far", "warn", "good"]), ("groups_kept", ["far", "warn", "good"]),
        ("pages_asked", ["dim", "dim", "dim"]),
    ],
)  # fmt: skip
def test_the_best_is_good_and_the_worst_is_far(name: str, roles: list[str]) -> None:
    values = [1.0, 2.0, 3.0]
    assert [verdict(name, value, values) for value in values] == roles


@pytest.mark.parametrize("name", list(FIGURES))
def test_where_all_are_alike_none_is_better(name: str) -> None:
    assert verdict(name, 5.0, [5.0, 5.0]) == "dim"


def test_every_name_is_a_figure() -> None:
    assert set(FIGURES) >= MORE_IS_BETTER
