"""Taking a job back: exactly what it moved, to where that came from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.emulator.mm.fork import fork
from backend.emulator.mm.mmap import mmap
from backend.emulator.mm.zap import zap
from backend.emulator.scenario.layout import populate
from backend.emulator.tasks.life import do_exit, spawn
from backend.errors import NumatuiError, Refused
from backend.job.outcome import Progress
from backend.job.parts import page_mover
from backend.journal.past_jobs import KEEP
from tests.backend.job.moving import PAGE, Mover, check_journal

MIXED = [0] * 30 + [1] * 20 + [2] * 10 + [3] * 5 + [0] * 7


@pytest.mark.parametrize("method", ["auto", "migrate_pages"])
@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        ([0], [1]),
        ([0, 1], [2, 3]),
        ([0, 1], [1, 2]),
        ([0, 1, 2], [3]),
        ([1, 2], [0, 1]),
        ([0, 1, 2], [1, 2, 3]),
    ],
)
def test_all_that_moved_goes_back_and_what_was_on_the_targets_before_stays(
    sources: list[int], targets: list[int], method: Any, tmp_path: Path
) -> None:
    one = Mover(tmp_path, MIXED, MIXED[::-1])
    before = one.nodes
    moved = one.move(sources, targets, method=method)
    assert moved.complete
    assert one.nodes != before
    check_journal(one.job())
    back = one.undo()
    assert one.nodes == before
    assert back.complete
    assert back.moved == moved.moved > 0
    assert back.after == moved.before
    check_journal(one.job(back.job))
    assert one.job(back.job).undoes == moved.job
    assert one.job(moved.job).undone_by == back.job


def test_after_a_job_that_left_pages_behind(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 100)
    one.pin([3, 50, 99])
    assert one.move([0], [2]).left == {"busy": 3 * PAGE}
    check_journal(one.job())
    back = one.undo()
    assert one.nodes == [0] * 100
    assert back.complete
    assert back.moved == 97 * PAGE


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_pages_that_a_job_left_and_another_moved_later_are_the_others(method: Any, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 100)
    one.pin([3, 50, 99])
    first = one.move([0], [2], method=method)
    one.release([3, 50, 99])
    second = one.move([0], [2], method=method)
    assert second.moved == 3 * PAGE
    assert one.undo(first.job).moved == 97 * PAGE
    assert [number for number, node in enumerate(one.nodes) if node == 2] == [3, 50, 99]
    one.undo(second.job)
    assert one.nodes == [0] * 100


@pytest.mark.parametrize("method", ["move_pages", "migrate_pages"])
def test_after_a_job_that_found_no_room(method: Any, tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 600, pages=1024)
    hog = spawn(one.machine, "hog", cpu=2)
    vma = mmap(one.machine, hog, 700)
    populate(one.machine, vma, np.arange(700), 1)
    first = one.move([0], [1], method=method)
    assert set(first.left) == {"no-room"}
    check_journal(one.job())
    do_exit(one.machine, hog)
    one.meddle(1, [599])
    back = one.undo()
    assert back.moved == first.moved
    assert one.nodes == [0] * 599 + [1], "what something else moved later stays"


def test_after_a_job_that_was_cancelled(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 3000, pages=4096)
    cancel = threading.Event()
    first = one.move([0], [1], on_progress=lambda _: cancel.set(), cancel=cancel)
    assert first.cancelled
    assert 0 < first.moved < 3000 * PAGE
    check_journal(one.job())
    assert one.job().state == "cancelled"
    assert one.undo().moved == first.moved
    assert one.nodes == [0] * 3000


def test_after_a_job_that_broke_down(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 3000, pages=4096)

    def die(_: Progress) -> None:
        raise SystemExit(9)

    with pytest.raises(SystemExit):
        one.move([0], [1], on_progress=die)
    assert one.job().state == "failed"
    moved = one.nodes.count(1)
    assert 0 < moved < 3000
    assert one.undo().moved == moved * PAGE
    assert one.nodes == [0] * 3000


class TestElsewhere:
    def test_pages_moved_on_by_something_else_stay_where_they_are(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 100)
        one.move([0], [2])
        one.meddle(3, range(10, 20))
        back = one.undo()
        assert one.nodes == [0] * 10 + [3] * 10 + [0] * 80
        assert back.left == {"elsewhere": 10 * PAGE}
        assert back.moved == 90 * PAGE
        assert not back.complete
        assert one.job(back.job).state == "partly"

    def test_pages_that_are_home_already_need_nothing(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 100)
        one.move([0], [2])
        one.meddle(0, range(10, 20))
        back = one.undo()
        assert back.complete
        assert back.moved == 90 * PAGE
        assert one.nodes == [0] * 100

    def test_pages_that_were_unmapped_are_gone_for_good(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 100)
        one.move([0], [2])
        zap(one.machine, one.vmas[0], np.arange(30))
        back = one.undo()
        assert back.left == {"elsewhere": 30 * PAGE}
        assert back.moved == 70 * PAGE
        assert one.nodes == [-1] * 30 + [0] * 70

    def test_pages_that_go_away_before_their_turn_have_a_reason_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(page_mover, "_WINDOW", 2 << 20)
        monkeypatch.setattr(page_mover, "_PER_CHUNK", 1)
        one = Mover(tmp_path, [0] * 900, [0] * 600, pages=4096)
        one.move([0], [2])
        later: list[int] = []

        def meddle(_: Progress) -> None:
            if not later:
                later.append(0 if 0 in one.nodes[900:] else 1)
                one.meddle(3, range(one.vmas[later[0]].pages), later[0])

        back = one.undo(on_progress=meddle)
        away = one.vmas[later[0]].pages
        assert back.left == {"elsewhere": away * PAGE}
        assert back.moved == (1500 - away) * PAGE
        assert one.nodes.count(3) == away

    def test_pages_that_something_moves_there_again_are_not_called_moved(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 1500, pages=4096)
        one.move([0], [2])
        seen: list[int] = []

        def meddle(_: Progress) -> None:
            if not seen:
                seen.append(1)
                one.meddle(2, [number for number, node in enumerate(one.nodes) if node == 0][:50])

        back = one.undo(on_progress=meddle)
        assert one.nodes.count(2) * PAGE == back.left.get("returned", 0)
        assert back.moved + sum(back.left.values()) == 1500 * PAGE
        assert back.moved == one.nodes.count(0) * PAGE


class TestPartly:
    def test_what_finds_no_room_at_home_stays_and_can_be_taken_back_later(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 600, pages=1024)
        first = one.move([0], [2])
        hog = spawn(one.machine, "hog", cpu=0)
        populate(one.machine, mmap(one.machine, hog, 700), np.arange(700), 0)
        back = one.undo()
        assert set(back.left) == {"no-room"}
        assert back.moved + back.left["no-room"] == 600 * PAGE
        assert one.nodes.count(2) * PAGE == back.left["no-room"]
        assert one.job().undone_by == ""
        check_journal(one.job(back.job))
        do_exit(one.machine, hog)
        again = one.undo(first.job)
        assert again.complete
        assert again.moved == back.left["no-room"]
        assert one.nodes == [0] * 600
        assert one.job().undone_by == again.job

    def test_no_room_and_gone_each_have_their_share(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 600, [0] * 30, pages=1024)
        one.move([0], [2])
        hog = spawn(one.machine, "hog", cpu=0)
        populate(one.machine, mmap(one.machine, hog, 700), np.arange(700), 0)
        one.meddle(3, range(30), vma=1)
        back = one.undo()
        assert back.left["elsewhere"] == 30 * PAGE
        assert back.moved + back.left["no-room"] == 600 * PAGE

    def test_pages_that_are_held_stay(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 100)
        one.move([0], [2])
        one.pin([7, 8])
        back = one.undo()
        assert back.left == {"busy": 2 * PAGE}
        assert back.moved == 98 * PAGE
        assert one.job().undone_by == ""

    def test_an_undo_that_was_cancelled_can_be_gone_on_with(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 3000, pages=4096)
        first = one.move([0], [1])
        cancel = threading.Event()
        back = one.undo(on_progress=lambda _: cancel.set(), cancel=cancel)
        assert back.cancelled
        assert back.left == {"cancelled": 3000 * PAGE - back.moved}
        assert one.nodes.count(0) * PAGE == back.moved > 0
        assert one.job().undone_by == ""
        again = one.undo(first.job)
        assert again.complete
        assert again.moved + back.moved == 3000 * PAGE
        assert one.nodes == [0] * 3000

    def test_one_that_breaks_down_says_so_and_lets_go(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 3000, pages=4096)
        first = one.move([0], [1])

        def die(_: Progress) -> None:
            raise SystemExit(9)

        with pytest.raises(SystemExit):
            one.undo(on_progress=die)
        assert one.states == ["done", "failed"]
        assert one.undo(first.job).complete
        assert one.nodes == [0] * 3000

    def test_a_process_that_ends_meanwhile_is_an_outcome(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 3000, pages=4096)
        one.move([0], [1])
        back = one.undo(on_progress=lambda _: do_exit(one.machine, one.task))
        assert set(back.left) == {"process-ended"}
        assert back.moved + back.left["process-ended"] == 3000 * PAGE
        assert "ended" in back.error


class TestShared:
    """Pages that others map move with --all only, and go back as they came."""

    def test_a_job_that_moved_them_takes_them_back(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 50)
        child = one.machine.run(fork(one.machine, one.task))
        assert one.move([0], [2]).left == {"shared": 50 * PAGE}
        moved = one.move([0], [2], move_all=True)
        assert moved.complete
        back = one.undo(moved.job)
        assert back.complete
        assert one.nodes == [0] * 50
        assert child.mm is not None

    def test_so_does_migrate_pages_which_moves_them_and_has_to_be_told_to(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 50)
        one.machine.run(fork(one.machine, one.task))
        with pytest.raises(Refused, match="for everybody; add --all"):
            one.move([0], [2], method="migrate_pages")
        assert one.nodes == [0] * 50
        moved = one.move([0], [2], method="migrate_pages", move_all=True)
        assert moved.complete
        assert one.undo(moved.job).complete
        assert one.nodes == [0] * 50

    def test_pages_that_are_shared_since_stay(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, [0] * 50)
        one.move([0], [2])
        one.machine.run(fork(one.machine, one.task))
        back = one.undo()
        assert back.left == {"shared": 50 * PAGE}
        assert one.nodes == [2] * 50


class TestUndoOfAnUndo:
    def test_it_moves_them_there_again_and_so_on(self, tmp_path: Path) -> None:
        one = Mover(tmp_path, MIXED)
        before = one.nodes
        last = one.move([0, 1], [1, 2])
        after = one.nodes
        for wanted in (before, after, before):
            last = one.undo(last.job)
            assert last.complete
            assert one.nodes == wanted
        with pytest.raises(NumatuiError, match="undone already"):
            one.undo()


def test_two_jobs_are_taken_back_in_reverse(tmp_path: Path) -> None:
    one = Mover(tmp_path, MIXED)
    before = one.nodes
    first = one.move([0], [1])
    between = one.nodes
    second = one.move([1], [2])
    assert one.undo(second.job).complete
    assert one.nodes == between
    assert one.undo(first.job).complete
    assert one.nodes == before


def test_a_job_whose_pages_a_later_one_took_on_finds_them_elsewhere(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 10)
    first = one.move([0], [1])
    one.move([1], [2])
    assert one.undo(first.job).left == {"elsewhere": 10 * PAGE}
    assert one.nodes == [2] * 10


def test_nodes_are_emptied_before_they_are_filled_again(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 700, [1] * 700, pages=1024)
    assert one.move([0, 1], [1, 2]).complete
    assert one.undo().complete
    assert one.nodes == [0] * 700 + [1] * 700


def test_pages_that_a_process_gives_up_before_their_turn_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_mover, "_WINDOW", 2 << 20)
    monkeypatch.setattr(page_mover, "_PER_CHUNK", 1)
    one = Mover(tmp_path, [0] * 900, [0] * 600, pages=4096)
    later: list[int] = []

    def give_up(_: Progress) -> None:
        if not later:
            later.append(0 if 2 in one.nodes[900:] else 1)
            zap(one.machine, one.vmas[later[0]], np.arange(one.vmas[later[0]].pages))

    outcome = one.move([0], [2], on_progress=give_up)
    assert outcome.left == {"gone": one.vmas[later[0]].pages * PAGE}
    assert outcome.moved + outcome.left["gone"] == 1500 * PAGE


def test_old_journals_go_when_a_job_ends(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 5)
    one.move([0], [1])
    ended = one.job().path.read_bytes()
    for number in range(KEEP + 5):
        (one.folder / f"{number + 2}.job").write_bytes(ended)
    one.move([1], [2])
    left = sorted(int(path.stem) for path in one.folder.glob("*.job"))
    assert left == [*range(KEEP + 7 - KEEP + 1, KEEP + 8)]
    assert one.nodes == [2] * 5
