"""Random sequences of calls on this kernel and on the emulated machine: every difference is a bug of the emulator, or
stands in docs/emulator.md with its reason and is kept out of `sequence.py`."""

from __future__ import annotations

import os

import pytest

from tests.guest.inside.differential.compare import difference
from tests.guest.inside.differential.emulated import on_the_emulator
from tests.guest.inside.differential.linux import on_linux
from tests.guest.inside.differential.sequence import sequence

FIRST = int(os.environ.get("NUMATUI_FIRST_SEQUENCE", "10000"))
COUNT = int(os.environ.get("NUMATUI_SEQUENCES", "50"))
EACH = 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, EACH))
def test_both_do_the_same(first: int) -> None:
    for seed in range(first, first + EACH):
        steps = sequence(seed)
        found = difference(steps, on_linux(steps), on_the_emulator(steps))
        assert not found, f"sequence {seed}:\n{found}"
