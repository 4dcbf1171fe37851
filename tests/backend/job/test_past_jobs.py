"""Journals as they are read again: whole, cut off, hostile."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import NotFound, NumatuiError, ParseError
from backend.job import past_job, past_jobs
from backend.job.journal import CHUNK, RESULT
from backend.job.journal_file import MAGIC, append, fact, frame
from backend.job.journal_folder import is_locked
from backend.job.page_runs import encode_marks, encode_pages
from backend.job.past_job import JournaledPart, PastJob, index_of, read_chunks, read_job
from backend.job.past_jobs import changed_jobs, find_job, list_jobs, mark_undone, prune
from backend.nodeset import NodeSet
from backend.plan.remap import Move
from tests.backend.job.journals import (
    HEAD,
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
from tests.backend.job.moving import chunks_of

CPUSET: dict[str, Any] = {"path": "/db", "mems": [0, 1], "written": [], "wide": [0, 1, 2], "final": [2]}


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

    monkeypatch.setattr(past_job, "is_locked", ends_meanwhile)
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
            append(journal._fd, frame(b"C", CHUNK.pack(0, 0, 2, 4096, 0) + bytes(2 << 20)), sync=False)
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


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([1 << 64, -1, 10**400, "done", 2, 4096]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
KEYS = [*HEAD, *PART, *CPUSET, "at", "cpusets", "moved", "left", "counted", "end", "error", "undoes", "undone_by",
        "worst_call"]  # fmt: skip
records = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), values, max_size=8)
GOOD_HEAD: dict[str, Any] = {"at": 1.0, **HEAD, "cpusets": [CPUSET]}
GOOD_END: dict[str, Any] = {"end": "done", "at": 2.0, "moved": 8192, "left": {}, "error": "", "worst_call": 5}
GOOD_CHUNK = CHUNK.pack(0, 0, 2, 4096, 0) + encode_pages(pages(4096, 3), 4096)
GOOD_RESULT = RESULT.pack(0, 2 * 4096) + encode_marks(left(3, 1))


def written(
    head: Any = GOOD_HEAD, chunk: bytes = GOOD_CHUNK, result: bytes = GOOD_RESULT, end: Any = GOOD_END
) -> list[bytes]:
    """The frames of a job; the checksums are right, whatever is in them."""
    return [fact(head), frame(b"C", chunk), frame(b"R", result), fact(end), fact({"undone_by": "9"})]


def saved(folder: Path, frames: list[bytes]) -> Path:
    path = folder / "7.job"
    path.write_bytes(MAGIC + b"".join(frames))
    return path


quick = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sane(path: Path) -> None:
    """Reading raises nothing but ParseError; what is read can be shown and used."""
    try:
        job, chunks = everything(path)
    except ParseError:
        return
    time.localtime(job.at)
    round(job.at)
    assert isinstance(job.title, str)
    assert all(0 <= part.identity.pid < 1 << 64 for part in job.parts)
    for chunk in chunks:
        assert len(chunk.addresses) <= past_job._MOST_PAGES
        assert chunk.left is None or len(chunk.left) == len(chunk.addresses)
        assert (chunk.addresses[1:] > chunk.addresses[:-1]).all()
        assert chunk.part < len(job.parts)
        assert max(chunk.move.source, chunk.move.target) <= 65535


class TestHostile:
    @pytest.fixture(autouse=True)
    def few_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refusing more is the same at any number."""
        monkeypatch.setattr(past_job, "_MOST_PAGES", 1 << 12)

    @quick
    @given(st.binary(max_size=400), st.booleans())
    def test_any_bytes(self, tmp_path: Path, raw: bytes, is_magic: bool) -> None:
        path = tmp_path / "7.job"
        path.write_bytes(MAGIC * is_magic + raw)
        sane(path)

    @quick
    @given(st.lists(st.builds(fact, records | values), max_size=5), st.booleans())
    def test_any_records(self, tmp_path: Path, facts: list[bytes], with_head: bool) -> None:
        sane(saved(tmp_path, [*written()[: 3 * with_head], *facts]))

    @quick
    @given(
        st.lists(st.builds(frame, st.sampled_from([b"J", b"C", b"R"]), st.binary(max_size=60)), max_size=5),
        st.integers(0, 5),
    )
    def test_any_frames(self, tmp_path: Path, frames: list[bytes], good: int) -> None:
        sane(saved(tmp_path, [*written()[:good], *frames]))

    @quick
    @given(st.data())
    def test_any_change_of_a_value_of_a_real_one(self, tmp_path: Path, data: st.DataObject) -> None:
        head, end = json.loads(json.dumps([GOOD_HEAD, GOOD_END]))
        changed = data.draw(st.sampled_from([head, head["parts"][0], head["cpusets"][0], end]))
        key = data.draw(st.sampled_from([*changed]))
        if data.draw(st.booleans()):
            del changed[key]
        else:
            changed[key] = data.draw(values)
        sane(saved(tmp_path, written(head=head, end=end)))

    @quick
    @given(st.data(), st.booleans())
    def test_any_change_of_the_bytes_of_a_real_one(self, tmp_path: Path, data: st.DataObject, is_sealed: bool) -> None:
        """In the file, or in pages whose checksum is right again."""
        raw = bytearray(GOOD_CHUNK + GOOD_RESULT if is_sealed else b"".join(written()))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=3))
            raw = raw or bytearray(1)
        chunk, result = bytes(raw[: len(GOOD_CHUNK)]), bytes(raw[len(GOOD_CHUNK) :])
        sane(saved(tmp_path, written(chunk=chunk, result=result) if is_sealed else [bytes(raw)]))

    @pytest.mark.parametrize(
        "change",
        [
            {"at": float("inf")}, {"at": float("nan")}, {"at": -1}, {"at": 1e18}, {"at": True}, {"boot": 1},
            {"method": None}, {"parts": {}}, {"parts": [1]}, {"parts": [{}]}, {"undoes": 3},
            *({"parts": [{**PART, **one}]} for one in (
                {"moves": [[0, 1 << 40]]}, {"moves": [[0]]}, {"moves": {"a": 1}}, {"pid": True}, {"pid": 1 << 64},
                {"start_time": -1}, {"program": [1]}, {"program": [1, "2"]}, {"command": 5},
            )),
        ],
    )  # fmt: skip
    def test_heads_that_no_job_writes(self, tmp_path: Path, change: dict[str, Any]) -> None:
        with pytest.raises(ParseError):
            read_job(saved(tmp_path, written(head={**GOOD_HEAD, **change})))

    @pytest.mark.parametrize(
        "change", [{"end": []}, {"end": "running"}, {"moved": 1.5}, {"moved": -1}, {"error": 5}, {"worst_call": "x"}]
    )
    def test_ends_that_no_job_writes(self, tmp_path: Path, change: dict[str, Any]) -> None:
        with pytest.raises(ParseError):
            read_job(saved(tmp_path, written(end={**GOOD_END, **change})))

    @pytest.mark.parametrize(
        "changed",
        [
            {"chunk": CHUNK.pack(1, 0, 2, 4096, 0) + GOOD_CHUNK[CHUNK.size :]},
            {"chunk": CHUNK.pack(0, 0, 2, 0, 0) + GOOD_CHUNK[CHUNK.size :]},
            {"chunk": CHUNK.pack(0, 0, 2, 1 << 62, 0) + GOOD_CHUNK[CHUNK.size :]},
            {"chunk": CHUNK.pack(0, 0, 2, 4096, 0) + encode_pages(pages(0, (1 << 12) + 1), 4096)},
            {"chunk": GOOD_CHUNK[: CHUNK.size]},
            {"chunk": GOOD_CHUNK[: CHUNK.size - 1]},
            {"chunk": GOOD_CHUNK + b"\0"},
            {"chunk": b""},
            {"result": RESULT.pack(1, 0) + GOOD_RESULT[RESULT.size :]},
            {"result": RESULT.pack(0, 0) + b"x"},
            {"result": RESULT.pack(0, 0) + encode_marks(left(9, 8))},
            {"result": RESULT.pack(0, 0) + b"b\0\0"},
        ],
    )
    def test_pages_that_no_job_writes(self, tmp_path: Path, changed: dict[str, bytes]) -> None:
        job = read_job(saved(tmp_path, written(**changed)))
        with pytest.raises(ParseError):
            chunks_of(job)
        assert len(everything(saved(tmp_path, written()))[1]) == 1

    def test_deep_nesting_and_endless_numbers(self, tmp_path: Path) -> None:
        for raw in (b"[" * 100_000, b'{"chunk": ' + b"9" * 5000 + b"}", b'{"a":' * 50_000):
            for frames in ([frame(b"J", raw)], [*written()[:2], frame(b"J", raw)]):
                with pytest.raises(ParseError):
                    read_job(saved(tmp_path, frames))

    def test_a_marked_job_of_any_bytes_can_still_be_read_or_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, written()[:2])
        good, job = path.read_bytes(), read_job(path)
        for tail in (b"J", b"J\5\0\0\0", fact(GOOD_END)[:-1], b"C\0\0\1\0" + b"[" * 5000):
            path.write_bytes(good + tail)
            mark_undone(job, "x")
            assert read_job(path).undone_by == "x"
        path.write_bytes(good + bytes(20))
        with pytest.raises(ValueError):
            mark_undone(job, "x")
        assert path.read_bytes() == good + bytes(20)


def test_the_chunks_of_a_part_come_the_last_first_and_one_at_a_time(folder: Path) -> None:
    journal = begin(folder, parts=[PART, PART])
    for number, part in enumerate(itertools.islice(itertools.cycle([0, 1]), 6)):
        journal.before(part, Move(0, 2), 4096, pages(number << 20, 2))
    job = read_job(kill(journal).path)
    index = index_of(job)
    assert {part: [int(one.addresses[0]) >> 20 for one in read_chunks(job, index, part)] for part in (0, 1, 2)} == {
        0: [4, 2, 0], 1: [5, 3, 1], 2: [],
    }  # fmt: skip
