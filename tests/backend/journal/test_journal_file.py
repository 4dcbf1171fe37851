"""The file of a journal: read from both ends, cut off anywhere, damaged, or written by nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import ParseError
from backend.journal.journal import Journal
from backend.journal.journal_file import (
    MAGIC,
    Frame,
    Kind,
    OpenFile,
    contents,
    fact,
    frame,
    frames,
    head_of,
    last_facts,
    read_fact,
    whole_size,
)
from backend.journal.past_job import index_of, read_job
from backend.plan.remap import Move
from backend.state.local import LOCAL
from tests.backend.journal.journals import begin, everything, left, move_some, nearly_full, pages

EXAMPLES = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
OTHERS: tuple[Kind, Kind] = (b"C", b"R")


@contextmanager
def file_of(raw: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """A file in memory: its descriptor and size."""
    fd = os.memfd_create("journal")
    try:
        os.write(fd, raw)
        yield fd, len(raw)
    finally:
        os.close(fd)


def two_chunks(folder: Path) -> Journal:
    """A job that ended, with frames of every kind."""
    journal = begin(folder)
    move_some(journal, 5, 0)
    journal.note(cpuset="/db", step="widen")
    journal.after(journal.before(0, Move(1, 3), 4096, pages(1 << 30, 3)), left(3))
    journal.note(counted=0, pages=5)
    journal.end("partly", moved=7 * 4096)
    return journal


def of(fd: int, size: int | None = None) -> OpenFile:
    return OpenFile(LOCAL, fd, os.fstat(fd).st_size if size is None else size)


def frames_of(path: Path) -> list[Frame]:
    raw = path.read_bytes()
    with file_of(raw) as (fd, size):
        return [*frames(of(fd, size))]


records = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=20), max_size=4)
written = st.lists(records | st.tuples(st.sampled_from(OTHERS), st.binary(max_size=80)), max_size=12)


@EXAMPLES
@given(records, written)
def test_the_front_and_the_end_say_the_same(head: dict[str, Any], rest: list[Any]) -> None:
    whole = [head, *rest]
    with file_of(MAGIC + b"".join(fact(one) if isinstance(one, dict) else frame(*one) for one in whole)) as (fd, size):
        found = [*frames(of(fd, size))]
        assert [
            read_fact(of(fd), one).raw if one.kind == b"J" else (one.kind, contents(of(fd), one)) for one in found
        ] == whole
        assert whole_size(of(fd)) == found[-1].end == size
        first, read = head_of(of(fd, size))
        assert (first, read.raw) == (found[0], head)
        last = [*takewhile(lambda one: isinstance(one, dict), reversed(rest))]
        assert [one.raw for one in last_facts(of(fd, size), first.end)] == last[::-1]


class TestCutOff:
    def test_anywhere_what_is_before_can_be_read(self, tmp_path: Path) -> None:
        journal = two_chunks(tmp_path / "jobs")
        whole, whole_frames = journal.path.read_bytes(), frames_of(journal.path)
        path = tmp_path / "1.job"
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            if cut < whole_frames[0].end:
                with pytest.raises(ParseError):
                    read_job(path)
                continue
            kept = [one for one in whole_frames if one.end <= cut]
            with file_of(whole[:cut]) as (fd, size):
                assert [*frames(of(fd, size))] == kept
                assert whole_size(of(fd)) == kept[-1].end
                assert cut == kept[-1].end or last_facts(of(fd, size), kept[0].end) == []
            job, chunks = everything(path)
            began, known = (sum(one.kind == kind for one in kept) for kind in OTHERS)
            assert [one.left is not None for one in chunks] == [True] * known + [False] * (began - known)
            assert (job.state, job.moved) == ("interrupted", (0, 4, 7)[known] * 4096)

    def test_what_is_written_after_that_can_be_read_from_both_ends(self, tmp_path: Path) -> None:
        journal = two_chunks(tmp_path / "jobs")
        whole, head = journal.path.read_bytes(), frames_of(journal.path)[0].end
        for cut in range(head, len(whole) + 1):
            with file_of(whole[:cut]) as (fd, size):
                before = [*frames(of(fd, size))]
                os.ftruncate(fd, whole_size(of(fd)))
                os.lseek(fd, 0, os.SEEK_END)
                LOCAL.append(fd, fact({"more": 1}))
                now = os.fstat(fd).st_size
                assert [*frames(of(fd, now))][:-1] == before
                assert last_facts(of(fd, now), head)[-1].raw == {"more": 1}

    def test_a_frame_that_does_not_fit_is_taken_away_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with file_of(MAGIC) as (fd, size):
            monkeypatch.setattr(os, "write", nearly_full(20))
            with pytest.raises(OSError, match="No space"):
                LOCAL.append(fd, fact({"key": "a" * 50}))
            monkeypatch.undo()
            assert os.fstat(fd).st_size == size

    def test_a_frame_is_written_whole_where_the_kernel_takes_it_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        with file_of(MAGIC) as (fd, _):
            monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
            LOCAL.append(fd, fact({"key": "a" * 50}))
            monkeypatch.undo()
            (one,) = frames(of(fd))
            assert read_fact(of(fd), one).raw == {"key": "a" * 50}

    def test_a_file_that_has_become_shorter_meanwhile_is_no_crash(self) -> None:
        raw = MAGIC + fact({}) + fact({"more": 1})
        with file_of(raw) as (fd, size):
            for gone in range(1, size - len(MAGIC)):
                os.ftruncate(fd, size - gone)
                quietly(fd, size)


class TestDamaged:
    def test_a_flipped_byte_is_found_when_its_frame_is_read(self, tmp_path: Path) -> None:
        journal = two_chunks(tmp_path / "jobs")
        whole = journal.path.read_bytes()
        for one in frames_of(journal.path):
            for at in range(one.at + 5, one.end):
                for bit in (1, 128):
                    raw = bytearray(whole)
                    raw[at] ^= bit
                    with file_of(raw) as (fd, _), pytest.raises(ValueError, match="damaged"):
                        contents(of(fd), one)

    def test_a_frame_of_another_kind_is_found(self) -> None:
        raw = MAGIC + frame(b"C", b"abc")
        with file_of(raw.replace(b"C", b"R", 1)) as (fd, size), pytest.raises(ValueError, match="damaged"):
            contents(of(fd), *frames(of(fd, size)))

    def test_no_result_of_a_job_rests_on_a_damaged_chunk(self, tmp_path: Path) -> None:
        """What is read of the pages of a job with one flipped byte is what was written, or the job is refused."""
        journal = two_chunks(tmp_path / "jobs")
        whole = journal.path.read_bytes()
        wanted = summary(journal.path)
        chunks = [one for one in frames_of(journal.path) if one.kind == b"C"]
        path = tmp_path / "1.job"
        for at in (at for one in chunks for at in range(one.at + 5, one.end)):
            raw = bytearray(whole)
            raw[at] ^= 1
            path.write_bytes(raw)
            with pytest.raises(ParseError):
                summary(path)
        path.write_bytes(whole)
        assert summary(path) == wanted

    def test_a_flipped_length_within_a_job_that_ended_is_found(self, tmp_path: Path) -> None:
        """The end of the file is whole, so nothing before it can have been cut off."""
        journal = two_chunks(tmp_path / "jobs")
        whole, first = journal.path.read_bytes(), frames_of(journal.path)[1]
        path = tmp_path / "1.job"
        for bit in range(32):
            raw = bytearray(whole)
            raw[first.at + 1 + bit // 8] ^= 1 << bit % 8
            path.write_bytes(raw)
            with pytest.raises(ParseError):
                index_of(read_job(path))


def summary(path: Path) -> list[Any]:
    """All of the pages of a job."""
    return [
        (one.move, one.page_size, one.addresses.tolist(), None if one.left is None else one.left.tolist(), one.shared)
        for one in everything(path)[1]
    ]


def quietly(fd: int, size: int) -> None:
    """Read everything in every way. ValueError is all that it may raise."""
    for read in (
        lambda: [contents(of(fd), one) for one in frames(of(fd, size))],
        lambda: [read_fact(of(fd), one) for one in frames(of(fd, size)) if one.kind == b"J"],
        lambda: head_of(of(fd, size)),
        lambda: last_facts(of(fd, size), len(MAGIC)),
        lambda: whole_size(of(fd)),
    ):
        try:
            read()
        except ValueError:
            continue


sealed = st.builds(frame, st.sampled_from((b"J", *OTHERS)), st.binary(max_size=40))
pieces = st.binary(max_size=40) | sealed | st.builds(fact, records)


@pytest.fixture
def real(tmp_path: Path) -> bytes:
    return two_chunks(tmp_path / "jobs").path.read_bytes()


class TestHostile:
    @EXAMPLES
    @given(st.lists(pieces, max_size=6).map(b"".join), st.booleans())
    def test_any_bytes_are_read_or_refused(self, raw: bytes, with_head: bool) -> None:
        with file_of(MAGIC + (fact({}) if with_head else b"") + raw) as (fd, size):
            quietly(fd, size)

    @EXAMPLES
    @given(st.data())
    def test_a_real_one_with_other_bytes_is_read_or_refused(self, real: bytes, data: st.DataObject) -> None:
        raw = bytearray(real)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(len(MAGIC), len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=3))
        with file_of(raw) as (fd, size):
            quietly(fd, size)

    def test_deep_nesting_and_endless_numbers_are_refused(self) -> None:
        for raw in (b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a":' * 50_000, b"\xff", b"[]", b"", b"1"):
            with file_of(MAGIC + frame(b"J", raw)) as (fd, size), pytest.raises(ValueError):
                head_of(of(fd, size))

    def test_a_length_that_no_frame_has_is_refused(self) -> None:
        with (
            file_of(MAGIC + b"J" + b"\xff" * 4 + bytes(50)) as (fd, size),
            pytest.raises(ValueError, match="no record"),
        ):
            list(frames(of(fd, size)))
