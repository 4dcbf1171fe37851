"""Journals of any bytes: reading raises ParseError and nothing else, within limits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import ParseError
from backend.journal import past_job
from backend.journal.journal import CHUNK, RESULT
from backend.journal.journal_file import MAGIC, fact, frame
from backend.journal.page_runs import encode_marks, encode_pages
from backend.journal.past_job import read_job
from backend.journal.past_jobs import mark_undone
from tests.backend.job.moving import chunks_of
from tests.backend.journal.journals import (
    CPUSET,
    HEAD,
    PART,
    everything,
    left,
    pages,
)

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
                {"start_time": -1}, {"program": [1]}, {"program": [1] * 7}, {"program": [1, "2"]}, {"command": 5},
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
