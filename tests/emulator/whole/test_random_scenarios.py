"""Scenarios at random: whatever happens at whatever moment, afterwards all is whole and nothing is held."""

from __future__ import annotations

import os

import pytest

from backend.emulator.inspect.audit import damaged_pages
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import build, finish
from backend.errors import UsageError
from tests.emulator.invariants import check_at_rest
from tests.emulator.whole.random_scenarios import random_scenario

FIRST, EACH, TESTS = (
    int(os.environ.get("NUMATUI_SEED", "0")),
    15,
    int(os.environ.get("NUMATUI_SCENARIOS", "20")),
)


@pytest.mark.parametrize("number", range(TESTS))
def test_nothing_is_lost_and_nothing_stays_held(number: int) -> None:
    ran = 0
    for seed in range(FIRST + number * EACH, FIRST + (number + 1) * EACH):
        text = random_scenario(seed)
        description = parse_description(text)
        try:
            built = build(description, watch=True)
        except UsageError:
            continue
        finish(description, built)
        m = built.machine
        m.advance(5)
        check_at_rest(m)
        assert not damaged_pages(m), f"seed {seed}:\n{text}"
        ran += 1
    assert ran > EACH // 2
