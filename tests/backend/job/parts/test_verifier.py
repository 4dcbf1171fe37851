"""What moved is read again while the rest moves; all of a process only if anything else has touched its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.mm.fault import touch
from backend.emulator.mm.zap import zap
from backend.job.outcome import Progress
from backend.job.parts.part_run import PartRun
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.placement.stillness import read_stillness
from backend.selection.selection import Selection
from tests.backend.job.moving import PAGE, Mover, everything_is_large
from tests.backend.job.test_undo_interrupted import small_batches

LAYOUT = [[0] * 40 + [1] * 8 + [2] * 8, [0, 2] * 10]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Mover]:
    made = Mover(tmp_path, *LAYOUT)
    made.read_gently()
    made.kernel.pause(1000)  # 0 is no time
    with everything_is_large(), small_batches():
        yield made


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that all of a process is read."""
    out: list[int] = []
    original = PartRun.placement

    def counted(self: PartRun, keep: int = 0) -> Any:
        out.append(self.pid)
        return original(self, keep)

    monkeypatch.setattr(PartRun, "placement", counted)
    return out


def truth(one: Mover) -> dict[int, int]:
    return {node: one.nodes.count(node) * PAGE for node in sorted({*one.nodes}) if node >= 0}


def requested(one: Mover) -> Any:
    return plan(one.kernel, MoveRequest(Selection((one.pid,)), "0", "1", method="move_pages"))


def test_a_plan_that_was_just_made_is_all_that_is_read(one: Mover, whole: list[int]) -> None:
    made = requested(one)
    found = made.processes[0].placement.found
    assert found.count == sum(map(len, LAYOUT))
    walked = one.kernel.count(one.pid, "maps")
    ended = one.carry_out(made)
    assert (ended.moved, ended.after) == (50 * PAGE, truth(one))
    assert whole == [], "neither before nor after: the pages that moved were read again, one by one"
    assert one.kernel.count(one.pid, "maps") == walked + 1


def test_an_older_plan_is_read_once_and_the_pages_are_not_looked_for_again(one: Mover, whole: list[int]) -> None:
    made = requested(one)
    one.kernel.pause(2_000_000_000)
    ended = one.carry_out(made)
    assert (ended.moved, ended.after, whole) == (50 * PAGE, truth(one), [one.pid])


def test_pages_that_were_found_too_long_ago_are_looked_for_again(one: Mover) -> None:
    """A page that something else moved meanwhile to a node that was not asked for stays there."""
    made = requested(one)

    def slow(progress: Progress) -> None:
        if progress.moved <= 4 * PAGE:
            one.kernel.pause(2_000_000_000)
            one.meddle(3, [18, 19], vma=1)

    ended = one.carry_out(made, on_progress=slow, workers=1)
    assert one.nodes[-2:] == [3, 3]
    assert ended.after == truth(one)


def fault(one: Mover) -> None:
    zap(one.machine, one.vmas[0], np.array([50]))
    pages = np.array([50])
    one.machine.run(touch(one.machine, one.task, one.task.leader, one.vmas[0].start, pages, write=True))


MEDDLING: dict[str, Callable[[Mover], None]] = {
    "a fault": fault,
    "another mover, of pages that are not the job's": lambda one: one.meddle(3, [50]),
    "another mover, which brings a page back": lambda one: one.meddle(0, [0]),
    "a page less": lambda one: zap(one.machine, one.vmas[0], np.array([50])),
}


@pytest.mark.parametrize("what", MEDDLING)
def test_whatever_else_happens_all_is_read_again(one: Mover, whole: list[int], what: str) -> None:
    happened: list[str] = []

    def meanwhile(_: Progress) -> None:
        if not happened:
            happened.append(what)
            MEDDLING[what](one)

    ended = one.carry_out(requested(one), on_progress=meanwhile, workers=1)
    assert happened
    assert whole == [one.pid]
    assert ended.after == truth(one)


def test_a_page_that_is_held_is_seen_where_it_is(one: Mover, whole: list[int]) -> None:
    one.pin([5])
    ended = one.carry_out(requested(one))
    assert (ended.moved, ended.left, ended.after) == (49 * PAGE, {"busy": PAGE}, truth(one))


def test_stillness_needs_all_of_its_files(one: Mover) -> None:
    assert read_stillness(one.kernel, one.pid) is not None
    one.kernel.answers["/proc/vmstat"] = lambda _: b"pgfault 3\n"
    assert read_stillness(one.kernel, one.pid) is None, "a kernel that does not count what moved"
    del one.kernel.answers["/proc/vmstat"]
    assert read_stillness(one.kernel, 99999) is None
