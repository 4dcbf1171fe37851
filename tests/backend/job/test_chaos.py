"""Things go wrong in the middle of a job (tests/backend/job/chaos.py has more of it): nothing is lost, what moved is
taken back."""

from __future__ import annotations

import numpy as np
import pytest

from backend.job.parts.source_pages import Chunk, gathered
from backend.plan.remap import Move
from tests.backend.job.chaos import KINDS, run

ROUNDS = 15


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(kind: str) -> None:
    found = [run(kind, seed) for seed in range(ROUNDS)]
    assert sum(one.injected for one in found) >= 5
    for seed, one in enumerate(found):
        assert not one.trouble, seed
        assert one.lost == 0, seed


def test_chunks_that_come_from_the_last_to_the_first_are_carried_in_order() -> None:
    """An undo comes to them so; unsorted, the search for the end of a window went round in a circle."""
    chunks = [
        Chunk(Move(1, 0), 4096, np.array(pages, np.uint64), np.zeros(len(pages), np.bool_))
        for pages in ([0x9000, 0xA000], [0x5000], [0x1000, 0x2000])
    ]
    (one,) = gathered(chunks, lambda: 16 << 20)
    assert one.addresses.tolist() == [0x1000, 0x2000, 0x5000, 0x9000, 0xA000]
