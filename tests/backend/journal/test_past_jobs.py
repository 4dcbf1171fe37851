"""The folder of jobs: listing, finding, pruning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NotFound, ParseError
from backend.journal import past_job
from backend.journal.journal import CHUNK
from backend.journal.journal_file import MAGIC, frame
from backend.journal.past_job import PastJob, read_job
from backend.journal.past_jobs import find_job, list_jobs, mark_undone, prune
from backend.state.local import LOCAL
from tests.backend.journal.journals import (
    CPUSET,
    begin,
    ended,
    interrupted,
    move_some,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def names(folder: Path) -> list[str]:
    return [one.job for one in list_jobs(folder)[0]]


class TestListing:
    def test_the_newest_first_and_what_is_wrong_with_the_others(self, folder: Path) -> None:
        assert list_jobs(folder) == ([], [])
        paths = [ended(folder, moved=number).path for number in range(3)]
        (folder / "11.job").write_bytes(b"\xff\n\x00")
        (folder / "12.job").mkdir()
        (folder / "13.job").symlink_to(paths[0])
        (folder / "14.job").touch()
        os.mkfifo(folder / "15.job")
        (folder / "16.job").write_bytes(MAGIC)
        for name in ("notes.txt", "x.job", "-1.job", "1x.job", "\u0661.job", "20260101-000000-1-a.jsonl", ".job"):
            (folder / name).write_text("not one")
        jobs, problems = list_jobs(folder)
        assert [job.moved for job in jobs] == [2, 1, 0]
        assert [Path(line.split(":")[0].split(" is ")[0]).name for line in problems] == [
            "16.job", "15.job", "13.job", "12.job", "11.job",
        ]  # fmt: skip

    def test_no_descriptor_is_left_open(self, folder: Path) -> None:
        interrupted(folder)
        (folder / "8.job").mkdir()
        (folder / "9.job").write_text("x\n")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            list_jobs(folder)
        assert len(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("is_running", [False, True])
    def test_of_large_journals_only_heads_and_ends_are_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, is_running: bool
    ) -> None:
        journal = begin(folder)
        for _ in range(25):
            LOCAL.append(journal._fd, frame(b"C", CHUNK.pack(0, 0, 2, 4096, 0) + bytes(2 << 20)), sync=False)
        if not is_running:
            journal.end("done", moved=5)
        assert journal.path.stat().st_size > 50 << 20
        real, read = os.pread, [0]

        def counting(fd: int, length: int, at: int) -> bytes:
            data = real(fd, length, at)
            read[0] += len(data)
            return data

        monkeypatch.setattr(os, "pread", counting)
        (job,) = list_jobs(folder)[0]
        assert (job.state, job.moved) == (("running", 0) if is_running else ("done", 5))
        assert 0 < read[0] < 2000

    def test_another_users_file_is_not_believed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = interrupted(folder).path
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ParseError, match="not a file of yours"):
            read_job(path)

    def test_one_that_is_too_large_is_not_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = interrupted(folder).path
        monkeypatch.setattr(past_job, "_LARGEST", 100)
        with pytest.raises(ParseError, match="too large"):
            read_job(path)

    def test_names_of_files_are_shown_harmlessly(self, tmp_path: Path) -> None:
        folder = tmp_path / "a\x1b[2J\n"
        folder.mkdir()
        (folder / "1.job").write_text("x\n")
        (folder / "2.job").symlink_to("1.job")
        problems = list_jobs(folder)[1]
        assert len(problems) == 2
        assert all(one.isprintable() for one in problems)


class TestFinding:
    def test_by_name(self, folder: Path) -> None:
        journal = interrupted(folder)
        assert find_job(folder, journal.job).path == journal.path

    @pytest.mark.parametrize(
        "name",
        [
            "", "no-such", "../jobs/1", "a" * 4000, "9" * 4000, "a\0b", "\x1b[2J", ".", "a/b", "1.job", "01", "-1",
            "\u0661",
        ],
    )  # fmt: skip
    def test_no_such_name(self, folder: Path, name: str) -> None:
        ended(folder)
        with pytest.raises(NotFound) as caught:
            find_job(folder, name)
        assert str(caught.value).isprintable()

    def test_what_is_no_file_is_one_line(self, folder: Path) -> None:
        journal = interrupted(folder)
        (folder / "5.job").symlink_to(journal.path)
        (folder / "6.job").mkdir()
        for name in ("5", "6"):
            with pytest.raises(ParseError, match=name) as caught:
                find_job(folder, name)
            assert str(caught.value).isprintable()

    def test_the_newest_that_moved_something_and_was_not_taken_back(self, folder: Path) -> None:
        with pytest.raises(NotFound):
            find_job(folder, None)

        def job(moved: int, **other: Any) -> PastJob:
            journal = begin(folder, **other)
            move_some(journal, 3, *range(moved, 3))
            journal.end("partly", moved=moved * 4096, left={})
            return read_job(journal.path)

        wanted = job(3)
        job(0)
        job(2, undoes=wanted.job)
        mark_undone(job(2), "3")
        (folder / "9.job").write_text("broken\n")
        assert find_job(folder, None) == wanted
        confined = job(0, cpusets=[CPUSET])
        assert find_job(folder, None) == confined
        last = interrupted(folder)
        assert find_job(folder, None).path == last.path


class TestPruning:
    def test_the_oldest_go_and_those_that_were_interrupted_stay(self, folder: Path) -> None:
        begin(folder)
        for number in range(1, 10):
            (interrupted if number in (2, 7) else ended)(folder)
        (folder / "0.job").write_text("not a journal\n")
        prune(folder, "b", keep=4)
        assert sorted(path.name for path in folder.glob("*.job")) == [
            "0.job", "1.job", "10.job", "3.job", "7.job", "8.job", "9.job",
        ]  # fmt: skip
        assert names(folder) == ["10", "9", "8", "7", "3", "1"]
        prune(folder / "not there", "b")

    def test_those_that_were_interrupted_before_the_machine_was_rebooted_go(self, folder: Path) -> None:
        earlier = interrupted(folder, boot="earlier")
        this = interrupted(folder)
        prune(folder, "b", keep=2)
        assert names(folder) == [this.job, earlier.job], "they are no more than are kept"
        prune(folder, "b", keep=0)
        assert names(folder) == [this.job]

    def test_a_number_that_was_pruned_is_not_given_again(self, folder: Path) -> None:
        last = ended(folder)
        prune(folder, "b", keep=0)
        assert int(ended(folder).job) == int(last.job) + 1
