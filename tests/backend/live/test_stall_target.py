"""The target of bench tells the truth about itself while it runs."""

from __future__ import annotations

import os

import pytest

from backend.live.stall_target import stall_target

MANY = 1_000_000


def test_its_words_are_whole_at_any_moment() -> None:
    """struct.pack_into zeroes what it is about to write: bench read that as memory that lost its contents."""
    cpu = min(os.sched_getaffinity(0))
    try:
        with stall_target(1 << 20, 0, cpu, huge=False) as target:
            target.begin()
            address, last, broken = target.address, 0, 0
            words = target.words
            for _ in range(MANY):
                rounds = words[2]
                broken += not target.intact or target.address != address or rounds < last
                last = rounds
            assert target.intact
    except OSError as exc:  # mbind is refused in many containers
        pytest.skip(f"no target here: {exc}")
    assert broken == 0
