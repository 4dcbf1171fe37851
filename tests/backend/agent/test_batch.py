"""Batches: however files come, change and go, the other side has what the agent saw; hostile answers are refused."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.agent import batch
from backend.agent.batch import Batches, Received
from backend.errors import os_error
from backend.files.patterns import expand
from backend.remote.ahead import Ahead

NAMES = ("/proc/1/stat", "/proc/2/stat", "/proc/22/stat", "/proc/2/numa_maps", "/proc/meminfo", "/sys/a b")
contents = st.binary(max_size=60) | st.sampled_from((b"", b"a" * 500, b"a" * 250 + b"b" + b"a" * 249, b"ab" * 100))
states = st.dictionaries(st.sampled_from(NAMES), contents | st.just(errno.EACCES), max_size=len(NAMES))
asked = st.lists(
    st.sampled_from((*NAMES, "/proc/[0-9]*/stat", "/proc/*", "/proc/", "/proc/[12]/", "/sys/?*")),
    min_size=1,
    max_size=4,
)


class Files:
    """A tree of files that changes. `late`: reading them takes so many seconds."""

    def __init__(self) -> None:
        self.state: dict[str, bytes | int] = {}
        self.now = 0.0
        self.late = 0.0
        self.read_paths: list[str] = []

    def read(self, path: str, offset: int, size: int) -> bytes:
        self.now += self.late
        self.read_paths.append(path)
        found = self.state.get(path, errno.ENOENT)
        if isinstance(found, int):
            raise os_error(found)
        return found

    def listdir(self, path: str) -> list[str]:
        base = path.rstrip("/") + "/"
        names = {one[len(base) :].split("/")[0] for one in self.state if one.startswith(base)}
        if not names:
            raise os_error(errno.ENOENT)
        return list(names)

    def agent(self) -> Batches:
        return Batches(self.read, self.listdir, lambda: self.now)

    def wanted(self, patterns: list[str]) -> dict[str, bytes | int]:
        out: dict[str, bytes | int] = {}
        for pattern in patterns:
            for path in expand(pattern, self.listdir, {}):
                try:
                    if path.endswith("/"):
                        out[path] = "\0".join(sorted(self.listdir(path))).encode()
                    else:
                        out[path] = self.read(path, 0, -1)
                except OSError as exc:
                    out[path] = exc.errno or 0
        return out


@settings(max_examples=200)
@given(st.lists(st.tuples(states, asked), min_size=1, max_size=30))
def test_the_other_side_has_what_the_agent_saw(rounds: list[tuple[dict[str, bytes | int], list[str]]]) -> None:
    files, got = Files(), Received()
    agent = files.agent()
    for files.state, patterns in rounds:
        header, payload = agent.answer("key", patterns, not got.order)
        got.update(header, payload)
        assert got.files == files.wanted(patterns)


def test_what_has_not_changed_is_not_sent() -> None:
    files, got = Files(), Received()
    agent = files.agent()
    files.state = {f"/proc/{number}/stat": b"x" * 300 + b"%d" % number for number in range(500)}
    got.update(*agent.answer("k", ["/proc/*/stat"], True))
    again = agent.answer("k", ["/proc/*/stat"], False)
    assert len(again[1]) < 600
    got.update(*again)
    files.state["/proc/7/stat"] = b"x" * 300 + b"8"
    changed = agent.answer("k", ["/proc/*/stat"], False)
    assert len(changed[1]) < 620
    got.update(*changed)
    assert got.files["/proc/7/stat"] == b"x" * 300 + b"8"


def test_a_file_that_another_batch_asked_for_is_still_known() -> None:
    files, got = Files(), Received()
    agent = files.agent()
    files.state = {"/proc/1/stat": bytes(5000), "/proc/2/stat": bytes(5000)}
    for path in ("/proc/1/stat", "/proc/2/stat", "/proc/1/stat"):
        answer = agent.answer("k", [path], not got.order)
        got.update(*answer)
    assert len(answer[1]) < 100
    assert got.files == {"/proc/1/stat": bytes(5000)}


def test_what_nobody_asks_for_is_forgotten_on_both_sides() -> None:
    files, got = Files(), Received()
    agent = files.agent()
    files.state = {"/proc/1/stat": bytes(5000), "/proc/2/stat": b"2"}
    got.update(*agent.answer("k", ["/proc/1/stat"], True))
    for _ in range(20):
        got.update(*agent.answer("k", ["/proc/2/stat"], False))
    answer = agent.answer("k", ["/proc/1/stat"], False)
    assert len(answer[1]) > 5000
    got.update(*answer)


def test_a_batch_that_takes_too_long_leaves_the_rest_to_be_asked_for() -> None:
    files, got = Files(), Received()
    files.state = {f"/proc/{number}/numa_maps": b"x" for number in range(10)}
    files.late = 2.0
    got.update(*files.agent().answer("k", ["/proc/*/numa_maps"], True))
    assert sum(one == b"x" for one in got.files.values()) == 3
    assert sum(one == errno.EAGAIN for one in got.files.values()) == 7


def test_too_large_a_file_is_left_to_be_asked_for(monkeypatch: object) -> None:
    files, got = Files(), Received()
    files.state = {"/proc/1/numa_maps": bytes(5 << 20), "/proc/2/numa_maps": b"x"}
    got.update(*files.agent().answer("k", ["/proc/*/numa_maps"], True))
    assert got.files == {"/proc/1/numa_maps": errno.EAGAIN, "/proc/2/numa_maps": b"x"}


@settings(max_examples=300)
@given(st.data())
def test_a_hostile_answer_is_refused_or_means_something(data: st.DataObject) -> None:
    files, got = Files(), Received()
    agent = files.agent()
    files.state = {"/proc/1/stat": b"a" * 50, "/proc/2/stat": b"b" * 50}
    got.update(*agent.answer("k", ["/proc/*/stat"], True))
    files.state = {"/proc/1/stat": b"a" * 25 + b"c" * 30, "/proc/3/stat": b"new"}
    header, payload = agent.answer("k", ["/proc/*/stat"], False)
    raw = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    try:
        got.update(data.draw(st.sampled_from([header, {}, {"had": 2}, {"had": "x"}])), bytes(raw))
    except ValueError:
        assert got.files == {}
    assert all(isinstance(one, (bytes, int)) for one in got.files.values())
    assert len(got.files) < batch.MOST_PATHS


def test_more_paths_than_a_batch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is not said to be absent: it is asked for."""
    monkeypatch.setattr(batch, "MOST_PATHS", 3)
    files, got = Files(), Received()
    files.state = {f"/proc/{number}/{name}": b"x" for number in range(4) for name in ("stat", "status")}
    got.update(*files.agent().answer("k", ["/proc/*/stat", "/proc/*/status"], True))
    assert (len(got.files), got.cut) == (3, True)
    far = SimpleNamespace(read=lambda *_: b"asked")
    assert Ahead(far, got.files, ["/proc/*/status"], complete=not got.cut).read("/proc/3/status") == b"asked"
