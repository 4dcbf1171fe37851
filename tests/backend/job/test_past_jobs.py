"""Journals as they are read again: whole, cut off, hostile."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import NotFound, NumatuiError, ParseError
from backend.job import past_jobs
from backend.job.journal import Journal, append_line
from backend.job.past_jobs import PastJob, changed_jobs, find_job, list_jobs, mark_undone, prune, read_job
from backend.plan.remap import Move

HEAD: dict[str, Any] = {
    "source": "live", "boot": "b", "pid": 4242, "start_time": 7, "program": [1, 2], "command": "oltp",
    "method": "move_pages", "moves": [[0, 2], [1, 3]], "before": {"0": 8192},
}  # fmt: skip


def begin(folder: Path, **other: Any) -> Journal:
    return Journal(folder, {**HEAD, **other})


def interrupted(folder: Path, **other: Any) -> Journal:
    """A job that was killed after its first chunk: nothing is written any more, the lock is gone."""
    journal = begin(folder, **other)
    journal.after(journal.before(Move(0, 2), 4096, [(1 << 20, 5)]), 4, [(1 << 20, 1)])
    journal.before(Move(1, 3), 2 << 20, [(1 << 30, 2)])
    os.close(journal._fd)
    return journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    began = time.time()
    journal = begin(folder)
    first = journal.before(Move(0, 2), 4096, [(4096, 3), (65536, 1)])
    second = journal.before(Move(1, 3), 2 << 20, [(1 << 30, 2)], shared=True)
    journal.after(second, 2)
    journal.after(first, 3, [(8192, 1)])
    assert read_job(journal.path).state == "running"
    journal.end("partly", moved=4206592, left={"busy": 4096}, error="oh")
    job = read_job(journal.path)
    assert (job.job, job.source, job.boot, job.command, job.method) == (
        journal.job,
        "live",
        "b",
        "oltp",
        "move_pages",
    )
    assert (job.identity.pid, job.identity.start_time, job.program) == (4242, 7, (1, 2))
    assert job.moves == (Move(0, 2), Move(1, 3))
    assert began <= job.at <= time.time()
    one, two = job.chunks
    assert (one.move, one.page_size, one.runs, one.moved, one.left, one.shared, one.pages) == (
        Move(0, 2), 4096, [(4096, 3), (65536, 1)], 3, [(8192, 1)], False, 4,
    )  # fmt: skip
    assert (two.move, two.page_size, two.moved, two.left, two.shared) == (Move(1, 3), 2 << 20, 2, [], True)
    assert (job.state, job.moved, job.error, job.undoes, job.undone_by) == ("partly", 4206592, "oh", "", "")


def test_following_tells_each_change_once(folder: Path) -> None:
    known: past_jobs.Known = {}
    assert changed_jobs(folder, known) == []
    journal = begin(folder)
    other = begin(folder, pid=77)

    def told() -> list[tuple[str, str]]:
        return [(one.job, one.state) for one in changed_jobs(folder, known)]

    assert told() == [(journal.job, "running"), (other.job, "running")]
    assert told() == []
    journal.after(journal.before(Move(0, 2), 4096, [(4096, 3)]), 3)
    assert told() == [(journal.job, "running")]
    journal.end("done", moved=3 * 4096)
    os.close(other._fd)
    assert told() == [(journal.job, "done"), (other.job, "interrupted")]
    assert told() == []


def test_the_newest_comes_first_also_of_those_that_began_in_one_second(folder: Path) -> None:
    made: list[str] = []
    for _ in range(8):
        journal = begin(folder)
        journal.end("done", moved=0)
        made.append(journal.job)
    assert [one.job for one in list_jobs(folder)[0]] == made[::-1]


def test_the_cpusets_that_were_changed_with_it_are_noted(folder: Path) -> None:
    journal = begin(folder, cpusets=[["/db", "0-1"]])
    journal.end("done", moved=0)
    assert read_job(journal.path).cpusets == (("/db", "0-1"),)
    other = begin(folder, pid=9, cpusets=["x"])
    other.end("done", moved=0)
    with pytest.raises(ParseError):
        read_job(other.path)


def test_an_interrupted_job_says_what_had_moved_at_least(folder: Path) -> None:
    job = read_job(interrupted(folder).path)
    assert job.state == "interrupted"
    assert job.moved == 4 * 4096
    assert [chunk.moved for chunk in job.chunks] == [4, None]


@pytest.mark.parametrize("how", ["done", "partly", "cancelled", "failed"])
def test_how_it_ended(folder: Path, how: str) -> None:
    journal = begin(folder)
    journal.end(how, moved=0, left={})
    assert read_job(journal.path).state == how


def test_an_end_that_nobody_knows_is_no_journal(folder: Path) -> None:
    journal = begin(folder)
    journal.end("splendid")
    with pytest.raises(ParseError, match="an unknown way"):
        read_job(journal.path)


def test_a_last_line_that_was_cut_off_counts_for_nothing(folder: Path) -> None:
    whole = interrupted(folder).path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path = folder / "x.jsonl"
    for end in range(last, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert len(read_job(path).chunks) == 1
    path.write_bytes(whole[:-1])
    assert len(read_job(path).chunks) == 2, "only the end of the line is missing"


def test_that_a_job_was_taken_back_can_be_noted_after_a_line_that_was_cut_off(folder: Path) -> None:
    whole = interrupted(folder).path.read_bytes()
    for end in range(whole.index(b"\n") + 1, len(whole) + 1):
        path = folder / "x.jsonl"
        path.write_bytes(whole[:end])
        before = read_job(path)
        mark_undone(before, "the-other")
        after = read_job(path)
        assert after.undone_by == "the-other"
        assert after.chunks == before.chunks


class TestWriting:
    def test_a_line_that_does_not_fit_leaves_no_half_of_itself(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = begin(folder)
        real, room = os.write, [20]

        def nearly_full(fd: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            some, room[0] = data[: room[0]], 0
            return real(fd, some)

        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(NumatuiError, match="disk is full"):
            journal.before(Move(0, 2), 4096, [(4096, 3)])
        monkeypatch.undo()
        journal.end("partly", moved=0, left={})
        assert read_job(journal.path).state == "partly"

    def test_one_that_looks_at_the_jobs_does_not_keep_another_from_beginning(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`numatui jobs` locks each journal for a moment."""
        real = os.open
        looking: list[int] = []

        def opening(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            fd = real(path, flags, mode, **more)
            if str(path).endswith(".jsonl") and flags & os.O_CREAT:
                import fcntl
                import threading

                looking.append(real(path, os.O_RDONLY))
                fcntl.flock(looking[0], fcntl.LOCK_SH)
                threading.Timer(0.05, lambda: os.close(looking[0])).start()
            return fd

        monkeypatch.setattr(os, "open", opening)
        begin(folder).end("done", moved=0, left={})
        assert looking

    def test_a_second_job_on_a_process_is_refused_until_the_first_ends(self, folder: Path) -> None:
        first = begin(folder)
        with pytest.raises(NumatuiError, match=f"being moved already, by job {first.job}"):
            begin(folder)
        other = begin(folder, pid=4243)
        first.end("done", moved=0, left={})
        begin(folder).end("done", moved=0, left={})
        other.end("done", moved=0, left={})

    def test_a_process_whose_number_is_the_time_of_another_job_is_not_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "strftime", lambda *_: "20260102-125232")
        first = begin(folder)
        begin(folder, pid=125232).end("done", moved=0, left={})
        first.end("done", moved=0, left={})

    def test_a_folder_of_jobs_that_others_may_enter_is_closed_to_them(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        begin(folder).end("done", moved=0, left={})
        assert folder.stat().st_mode & 0o777 == 0o700


class TestListing:
    def test_the_newest_first_and_what_is_wrong_with_the_others(self, folder: Path) -> None:
        assert list_jobs(folder) == ([], [])
        paths = []
        for number in range(3):
            journal = begin(folder)
            journal.end("done", moved=number, left={})
            paths.append(journal.path.rename(folder / f"2026010{number}-000000-1-a.jsonl"))
        (folder / "broken.jsonl").write_bytes(b"\xff\n\x00")
        (folder / "folder.jsonl").mkdir()
        (folder / "link.jsonl").symlink_to(paths[0])
        (folder / "empty.jsonl").touch()
        os.mkfifo(folder / "pipe.jsonl")
        (folder / "notes.txt").write_text("not one")
        jobs, problems = list_jobs(folder)
        assert [job.moved for job in jobs] == [2, 1, 0]
        assert sorted(Path(line.split(":")[0].split(" is ")[0]).name for line in problems) == [
            "broken.jsonl", "empty.jsonl", "folder.jsonl", "link.jsonl", "pipe.jsonl",
        ]  # fmt: skip

    def test_no_descriptor_is_left_open(self, folder: Path) -> None:
        interrupted(folder)
        (folder / "folder.jsonl").mkdir()
        (folder / "broken.jsonl").write_text("x\n")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            list_jobs(folder)
        assert len(os.listdir("/proc/self/fd")) == before

    def test_another_users_file_is_not_believed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = interrupted(folder).path
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ParseError, match="not a file of yours"):
            read_job(path)

    def test_one_that_is_too_large_is_not_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = interrupted(folder).path
        monkeypatch.setattr(past_jobs, "_LARGEST", 100)
        with pytest.raises(ParseError, match="too large"):
            read_job(path)

    def test_names_of_files_are_shown_harmlessly(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "a\x1b[2J\n.jsonl").write_text("x\n")
        (problem,) = list_jobs(folder)[1]
        assert problem.isprintable()


class TestFinding:
    def test_by_name(self, folder: Path) -> None:
        journal = interrupted(folder)
        assert find_job(folder, journal.job).path == journal.path

    @pytest.mark.parametrize("name", ["", "no-such", "../jobs/x", "a" * 4000, "a\0b", "\x1b[2J", ".", "a/b"])
    def test_no_such_name(self, folder: Path, name: str) -> None:
        folder.mkdir()
        with pytest.raises(NotFound) as caught:
            find_job(folder, name)
        assert str(caught.value).isprintable()

    def test_what_is_no_file_is_one_line(self, folder: Path) -> None:
        journal = interrupted(folder)
        (folder / "link.jsonl").symlink_to(journal.path)
        (folder / "folder.jsonl").mkdir()
        for name in ("link", "folder"):
            with pytest.raises(ParseError, match=name):
                find_job(folder, name)

    def test_the_newest_that_moved_something_and_was_not_taken_back(self, folder: Path) -> None:
        with pytest.raises(NotFound):
            find_job(folder, None)

        def job(name: str, moved: int, **other: Any) -> PastJob:
            journal = begin(folder, **other)
            journal.after(journal.before(Move(0, 2), 4096, [(4096, 3)]), moved)
            journal.end("partly", moved=moved * 4096, left={})
            return read_job(journal.path.rename(folder / f"{name}.jsonl"))

        wanted = job("1", 3)
        job("2", 0)
        job("3", 2, undoes="1")
        mark_undone(job("4", 2), "3")
        (folder / "5.jsonl").write_text("broken\n")
        assert find_job(folder, None).path == wanted.path
        interrupted(folder).path.rename(folder / "6.jsonl")
        assert find_job(folder, None).job == "6"


class TestPruning:
    def test_the_oldest_go_and_those_that_were_interrupted_stay(self, folder: Path) -> None:
        for number in range(10):
            if number in (2, 7):
                path = interrupted(folder).path
            else:
                journal = begin(folder)
                journal.end("done", moved=0, left={})
                path = journal.path
            path.rename(folder / f"{number}.jsonl")
        running = begin(folder, pid=9)
        running.path.rename(folder / "0-0-9-0.jsonl")
        (folder / "0.jsonl").write_text("not a journal\n")
        prune(folder, keep=4)
        left = sorted(path.name for path in folder.glob("*.jsonl"))
        assert left == ["0-0-9-0.jsonl", "0.jsonl", "2.jsonl", "6.jsonl", "7.jsonl", "8.jsonl", "9.jsonl"]
        prune(folder / "not there")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([1 << 64, -1, 10**400, "live", "done", 2, 4096]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
KEYS = [*HEAD, "numatui-journal", "at", "chunk", "from", "to", "page_size", "runs", "shared", "after", "moved", "left",
        "end", "error", "undoes", "undone_by"]  # fmt: skip
records = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), values, max_size=8)
GOOD: list[dict[str, Any]] = [
    {"numatui-journal": 2, "job": "j", "at": 1.0, **HEAD},
    {"chunk": 1, "from": 0, "to": 2, "page_size": 4096, "runs": [[4096, 3], [65536, 1]]},
    {"after": 1, "moved": 3, "left": [[4096, 1]]},
    {"chunk": 2, "from": 1, "to": 3, "page_size": 0, "runs": [[4096, 1 << 30]]},
    {"end": "done", "at": 2.0, "moved": 3, "left": {}, "error": ""},
    {"undone_by": "other"},
]
quick = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def sane(path: Path) -> None:
    """Reading raises nothing but ParseError; what is read can be shown and used."""
    try:
        job = read_job(path)
    except ParseError:
        return
    time.localtime(job.at)
    round(job.at)
    assert 0 <= job.identity.pid < 1 << 64
    for chunk in job.chunks:
        assert chunk.page_size == 0 or chunk.pages <= 1 << 24
        assert all(start + count * chunk.page_size < 1 << 64 for start, count in [*chunk.runs, *chunk.left])
        assert max(chunk.move.source, chunk.move.target) <= 65535


class TestHostile:
    @quick
    @given(st.binary(max_size=400))
    def test_any_bytes(self, tmp_path: Path, raw: bytes) -> None:
        path = tmp_path / "x.jsonl"
        path.write_bytes(raw)
        sane(path)

    @quick
    @given(st.lists(records | values, max_size=5), st.booleans())
    def test_any_records(self, tmp_path: Path, lines: list[Any], with_head: bool) -> None:
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in [*GOOD[: 3 * with_head], *lines]))
        sane(path)

    @quick
    @given(st.data())
    def test_any_change_of_a_value_of_a_real_one(self, tmp_path: Path, data: st.DataObject) -> None:
        lines: list[dict[str, Any]] = json.loads(json.dumps(GOOD))
        line = data.draw(st.sampled_from(lines))
        key = data.draw(st.sampled_from([*line]))
        if data.draw(st.booleans()):
            del line[key]
        else:
            line[key] = data.draw(values)
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        sane(path)

    @quick
    @given(st.data())
    def test_any_change_of_the_bytes_of_a_real_one(self, tmp_path: Path, data: st.DataObject) -> None:
        raw = bytearray("".join(json.dumps(one) + "\n" for one in GOOD).encode())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=3))
        path = tmp_path / "x.jsonl"
        path.write_bytes(bytes(raw))
        sane(path)

    @pytest.mark.parametrize(
        ("line", "change"),
        [
            (0, {"at": float("inf")}), (0, {"at": float("nan")}), (0, {"at": -1}), (0, {"at": 1e18}),
            (0, {"moves": [[0, 1 << 40]]}), (0, {"pid": True}), (0, {"program": [1]}), (0, {"numatui-journal": 1}),
            (1, {"to": 1 << 31}), (1, {"page_size": 1 << 62}), (1, {"runs": [[0, 1 << 25]]}),
            (1, {"runs": [[(1 << 64) - 4096, 2]]}), (1, {"runs": {"ab": 1}}), (1, {"runs": [[0]]}), (1, {"chunk": -1}),
            (2, {"after": 9}), (2, {"moved": 5}), (2, {"left": [[0, 1 << 40]]}), (4, {"end": []}), (4, {"moved": 1.5}),
        ],
    )  # fmt: skip
    def test_what_no_job_writes(self, tmp_path: Path, line: int, change: dict[str, Any]) -> None:
        path = tmp_path / "x.jsonl"
        lines = [{**one, **(change if number == line else {})} for number, one in enumerate(GOOD)]
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        with pytest.raises(ParseError):
            read_job(path)
        path.write_text("".join(json.dumps(one) + "\n" for one in GOOD))
        assert read_job(path).state == "done"

    def test_deep_nesting_and_endless_numbers(self, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        good = json.dumps(GOOD[0]) + "\n"
        for line in ("[" * 100_000, '{"chunk": ' + "9" * 5000 + "}", '{"a":' * 50_000):
            path.write_text(good + line + "\n" + good)
            with pytest.raises(ParseError):
                read_job(path)

    def test_a_marked_job_of_any_bytes_can_still_be_read_or_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in GOOD[:2]))
        job = read_job(path)
        for tail in (b"\0\0\0", b"{", b'{"end":"done"}', b"[" * 5000):
            path.write_text("".join(json.dumps(one) + "\n" for one in GOOD[:2]))
            with open(path, "ab") as file:
                file.write(tail)
            mark_undone(job, "x")
            assert read_job(path).undone_by == "x"


def test_a_line_is_written_whole_where_the_kernel_takes_it_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    fd = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT)
    append_line(fd, {"key": "a" * 50})
    os.close(fd)
    assert json.loads((tmp_path / "x").read_text()) == {"key": "a" * 50}
