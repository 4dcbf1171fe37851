"""A node whose memory is taken offline in the middle of a job, or before it is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.emulator.migration import hotplug
from backend.job.outcome import Progress
from tests.backend.job.moving import Mover

PAGES = 3000


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_a_target_that_goes_is_named(tmp_path: Path, method: str) -> None:
    one = Mover(tmp_path, [0] * PAGES, [2] * 5, pages=4096)
    calls = 0

    def go(_: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            one.machine.run(hotplug.offline(one.machine, 1))

    outcome = one.move([0, 2], [1, 3], method=method, on_progress=go)
    assert 1 not in one.nodes
    if method == "move_pages":
        assert "node 1 has no memory any more" in outcome.error
        assert one.nodes[-5:] == [3] * 5, "the moves to other nodes go on"
    assert not outcome.complete
    assert outcome.moved + sum(outcome.left.values()) == (PAGES + 5) * 4096


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_a_target_that_has_gone_since_the_plan_is_named(tmp_path: Path, method: str) -> None:
    one = Mover(tmp_path, [0] * 50)
    before = one.nodes
    plan = one.plan([0], [1], method=method)
    one.machine.run(hotplug.offline(one.machine, 1))
    outcome = one.carry_out(plan)
    assert "node 1 has no memory any more" in outcome.error
    assert one.nodes == before


def test_undo_to_a_node_that_has_gone_can_be_tried_again(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 50)
    one.move([0], [1])
    one.machine.run(hotplug.offline(one.machine, 0))
    back = one.undo()
    assert "node 0 has no memory any more" in back.error
    assert set(one.nodes) == {1}
    one.machine.run(hotplug.online(one.machine, 0))
    assert one.undo().complete
    assert set(one.nodes) == {0}
