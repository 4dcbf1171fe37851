"""A journal that is read again, whole or cut off; jobs that are going on."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NumatuiError, ParseError
from backend.journal import past_jobs
from backend.journal.past_job import JournaledPart, index_of, read_chunks, read_job
from backend.journal.past_jobs import changed_jobs, find_job, list_jobs, mark_undone, prune
from backend.nodeset import NodeSet
from backend.plan.remap import Move
from backend.state import local
from backend.state.numbering import is_locked
from tests.backend.journal.journals import (
    CPUSET,
    HUGE,
    PART,
    begin,
    ended,
    everything,
    interrupted,
    kill,
    left,
    move_some,
    nearly_full,
    pages,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def names(folder: Path) -> list[str]:
    return [one.job for one in list_jobs(folder)[0]]


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    began = time.time()
    journal = begin(folder, parts=[PART, {**PART, "pid": 77, "confined": True}])
    some = pages(4096, 3).tolist() + pages(65536, 1).tolist()
    first = journal.before(0, Move(0, 2), 4096, pages(0, 17)[[1, 2, 3, 16]])
    second = journal.before(1, Move(1, 3), HUGE, pages(1 << 30, 2, HUGE), shared=True)
    journal.after(second, left(2))
    journal.after(first, left(4, 1))
    assert read_job(journal.path).state == "running"
    journal.end("partly", moved=4206592, left={"busy": 4096}, error="oh", worst_call=2_000_000_000)
    job, (one, two) = everything(journal.path)
    assert (job.job, job.path, job.boot, job.method) == (journal.job, journal.path, "b", "move_pages")
    moves = (Move(0, 2), Move(1, 3))
    assert job.parts[0] == JournaledPart(job.parts[0].identity, (1, 2), "oltp", moves)
    assert [(part.identity.pid, part.identity.start_time, part.confined) for part in job.parts] == [
        (4242, 7, False), (77, 7, True),
    ]  # fmt: skip
    assert (job.moves, job.asked, job.title) == (moves, job.parts[:1], "4242 oltp")
    assert began <= job.at <= time.time()
    assert (one.part, one.move, one.page_size, one.addresses.tolist(), one.shared) == (
        0, Move(0, 2), 4096, some, False,
    )  # fmt: skip
    assert (two.part, two.move, two.page_size, len(two.addresses), two.shared) == (1, Move(1, 3), HUGE, 2, True)
    assert [None if chunk.left is None else chunk.left.tolist() for chunk in (one, two)] == [
        [False, True, False, False], [False, False],
    ]  # fmt: skip
    assert (job.state, job.moved, job.error, job.undoes, job.undone_by) == ("partly", 4206592, "oh", "", "")
    assert (job.worst_call, job.counted, job.cpusets) == (2.0, False, ())


def test_following_tells_each_change_once(folder: Path) -> None:
    known: past_jobs.Known = {}
    assert changed_jobs(folder, known) == []
    journal = begin(folder)
    other = begin(folder)

    def told() -> list[tuple[str, str]]:
        return [(one.job, one.state) for one in changed_jobs(folder, known)]

    assert told() == [(journal.job, "running"), (other.job, "running")]
    assert told() == []
    move_some(journal, 3)
    assert told() == [(journal.job, "running")]
    journal.end("done", moved=3 * 4096)
    kill(other)
    assert told() == [(journal.job, "done"), (other.job, "interrupted")]
    assert told() == []


class TestOrder:
    def test_the_newest_comes_first_also_of_those_that_began_in_one_second(self, folder: Path) -> None:
        made = [ended(folder).job for _ in range(12)]
        assert names(folder) == made[::-1]

    def test_a_clock_that_goes_back_does_not_matter(self, folder: Path) -> None:
        made = [ended(folder, moved=1, at=at).job for at in (3000.0, 1000.0, 2000.0)]
        assert names(folder) == made[::-1]
        assert [one.at for one in list_jobs(folder)[0]] == [2000.0, 1000.0, 3000.0]
        assert find_job(folder, None).job == made[-1]
        prune(folder, "b", keep=1)
        assert names(folder) == made[-1:]

    def test_no_number_is_given_twice(self, folder: Path) -> None:
        first = ended(folder)
        second = begin(folder)
        second.discard()
        first.path.unlink()
        assert int(ended(folder).job) == int(second.job) + 1 == int(first.job) + 2

    def test_jobs_that_begin_at_once_get_different_numbers(self, folder: Path) -> None:
        start = threading.Barrier(8)

        def one() -> None:
            start.wait()
            ended(folder)

        crowd = [threading.Thread(target=one) for _ in range(8)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert names(folder) == [str(number) for number in range(8, 0, -1)]

    @pytest.mark.parametrize("kept", [b"", b"12x", b"-5", b"9" * 30, b"\xff" * 8, "\u0661".encode()])
    def test_a_lock_that_says_no_number_does_not_matter(self, folder: Path, kept: bytes) -> None:
        first = ended(folder)
        (folder / ".lock").write_bytes(kept)
        assert int(ended(folder).job) == int(first.job) + 1


def test_the_cpusets_that_were_changed_with_it_are_noted(folder: Path) -> None:
    (cpuset,) = read_job(ended(folder, cpusets=[CPUSET]).path).cpusets
    assert (cpuset.path, cpuset.mems, cpuset.written) == ("/db", NodeSet([0, 1]), NodeSet([]))
    assert (cpuset.wide, cpuset.final) == (NodeSet([0, 1, 2]), NodeSet([2]))
    for wrong in ("x", {"path": "/db"}, {**CPUSET, "mems": [1 << 20]}, {**CPUSET, "final": "0-1"}):
        with pytest.raises(ParseError):
            read_job(ended(folder, cpusets=[wrong]).path)


def test_an_interrupted_job_says_what_had_moved_at_least(folder: Path) -> None:
    job, chunks = everything(interrupted(folder).path)
    assert job.state == "interrupted"
    assert job.moved == 4 * 4096
    assert [None if one.left is None else one.left.sum() for one in chunks] == [1, None]


@pytest.mark.parametrize("how", ["done", "partly", "cancelled", "failed"])
def test_how_it_ended(folder: Path, how: str) -> None:
    journal = begin(folder)
    journal.end(how, moved=0, left={})
    assert read_job(journal.path).state == how


def test_an_end_that_nobody_knows_is_no_journal(folder: Path) -> None:
    journal = begin(folder)
    journal.end("splendid", moved=0)
    with pytest.raises(ParseError, match="end is not one of"):
        read_job(journal.path)


def test_a_job_that_ends_while_it_is_read_was_not_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(folder)

    def ends_meanwhile(fd: int) -> bool:
        journal.end("done", moved=0)
        return is_locked(fd)

    monkeypatch.setattr(local, "is_locked", ends_meanwhile)
    assert read_job(journal.path).state in ("running", "done")


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_pages_that_were_only_counted_are_told(folder: Path, is_cut_off: bool) -> None:
    journal = begin(folder)
    move_some(journal, 3)
    journal.note(counted=0, pages=7)
    if is_cut_off:
        kill(journal)
    else:
        journal.end("done", moved=0)
    assert read_job(journal.path).counted


def test_pages_that_were_only_counted_are_told_also_where_others_came_after_them(folder: Path) -> None:
    journal = begin(folder)
    journal.note(counted=0, pages=7)
    move_some(journal, 3)
    journal.end("done", moved=0)
    assert read_job(journal.path).counted


def test_a_last_frame_that_was_cut_off_counts_for_nothing(folder: Path) -> None:
    journal = begin(folder)
    move_some(journal, 5, 0)
    begins = journal.path.stat().st_size
    journal.before(0, Move(1, 3), HUGE, pages(1 << 30, 2, HUGE))
    whole = kill(journal).path.read_bytes()
    path = folder / "7.job"
    for end in range(begins, len(whole)):
        path.write_bytes(whole[:end])
        assert len(everything(path)[1]) == 1
    path.write_bytes(whole)
    assert len(everything(path)[1]) == 2


def test_that_a_job_was_taken_back_can_be_noted_after_a_frame_that_was_cut_off(folder: Path) -> None:
    journal = begin(folder)
    head = journal.path.stat().st_size
    move_some(journal, 5, 0)
    journal.end("partly", moved=4 * 4096)
    whole = journal.path.read_bytes()
    for end in range(head, len(whole) + 1):
        path = folder / "7.job"
        path.write_bytes(whole[:end])
        before, chunks = everything(path)
        mark_undone(before, "the-other")
        after, kept = everything(path)
        assert (after.undone_by, after.state, after.moved) == ("the-other", before.state, before.moved)
        assert [one.addresses.tolist() for one in kept] == [one.addresses.tolist() for one in chunks]


class TestWriting:
    def test_a_frame_that_does_not_fit_leaves_no_half_of_itself(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = begin(folder)
        monkeypatch.setattr(os, "write", nearly_full(20))
        with pytest.raises(NumatuiError, match="disk is full"):
            journal.before(0, Move(0, 2), 4096, pages(4096, 3))
        monkeypatch.undo()
        assert journal.before(0, Move(0, 2), 4096, pages(4096, 2)) == 0, "it counts only what was written"
        journal.end("partly", moved=0, left={})
        job, (chunk,) = everything(journal.path)
        assert (job.state, len(chunk.addresses)) == ("partly", 2)

    def test_one_that_looks_at_the_jobs_does_not_keep_another_from_beginning(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`numatui jobs` locks each journal for a moment."""
        real = os.open
        looking: list[int] = []

        def opening(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            fd = real(path, flags, mode, **more)
            if str(path).endswith(".job") and flags & os.O_CREAT:
                looking.append(real(path, os.O_RDONLY))
                fcntl.flock(looking[0], fcntl.LOCK_SH)
                threading.Timer(0.05, lambda: os.close(looking[0])).start()
            return fd

        monkeypatch.setattr(os, "open", opening)
        begin(folder).end("done", moved=0, left={})
        assert looking

    def test_a_job_in_which_nothing_happened_leaves_nothing(self, folder: Path) -> None:
        begin(folder).discard()
        assert list_jobs(folder) == ([], [])
        assert not list(folder.glob("*.job"))

    def test_a_folder_of_jobs_that_others_may_enter_is_closed_to_them(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        ended(folder)
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_chunks_of_a_part_come_the_last_first_and_one_at_a_time(folder: Path) -> None:
    journal = begin(folder, parts=[PART, PART])
    for number, part in enumerate(itertools.islice(itertools.cycle([0, 1]), 6)):
        journal.before(part, Move(0, 2), 4096, pages(number << 20, 2))
    job = read_job(kill(journal).path)
    index = index_of(job)
    assert {part: [int(one.addresses[0]) >> 20 for one in read_chunks(job, index, part)] for part in (0, 1, 2)} == {
        0: [4, 2, 0], 1: [5, 3, 1], 2: [],
    }  # fmt: skip
