"""A process that may no longer be looked at, from the middle of a job on: it became another user's, or lets nobody look
at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import NotPermitted
from backend.job.outcome import Progress
from tests.backend.job.moving import Mover

PAGES = 3000


def shut(one: Mover) -> None:
    """Its own user is told nothing any more: the stat file of such a process says 1 and 0 (do_task_stat())."""
    one.kernel.program = 0


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_it_is_told_as_that_and_not_as_another_program(tmp_path: Path, method: str) -> None:
    one = Mover(tmp_path, [0] * PAGES, pages=4096)
    outcome = one.move([0], [1], method=method, on_progress=lambda _: shut(one))
    moved = one.nodes.count(1)
    assert moved > 0
    assert outcome.moved == moved * 4096
    assert "does not let you look at" in outcome.error
    assert {*outcome.left} <= {"stopped"}
    assert outcome.moved + outcome.left.get("stopped", 0) == PAGES * 4096
    assert not outcome.complete


def test_what_moved_can_be_taken_back_once_it_may_be_looked_at_again(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * PAGES, pages=4096)
    one.move([0], [1], on_progress=lambda _: shut(one))
    there = one.nodes
    with pytest.raises(NotPermitted, match=str(one.pid)):
        one.undo()
    assert one.nodes == there
    one.kernel.program = 11
    assert one.undo().complete
    assert set(one.nodes) == {0}


def test_in_the_middle_of_an_undo(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * PAGES, pages=4096)
    one.move([0], [1])

    def look_away(_: Progress) -> None:
        shut(one)

    back = one.undo(on_progress=look_away)
    assert "does not let you look at" in back.error
    assert back.moved == one.nodes.count(0) * 4096
    assert back.moved + back.left.get("stopped", 0) == PAGES * 4096
    one.kernel.program = 11
    assert one.undo().complete
    assert set(one.nodes) == {0}
