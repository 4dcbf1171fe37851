"""The language of the process filter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.machine.topology import Topology, read_topology
from backend.placement.survey import ProcessRow, Surveyor
from numatui.tui.model.filtering import Filter, far_bytes, with_word
from tests.kernels.fake_kernel import FakeKernel


def rows_of(kernel: FakeKernel) -> tuple[list[ProcessRow], Topology]:
    topology = read_topology(kernel)
    rows = Surveyor(kernel, topology).read()
    groups = {1001: "/db/main", 1002: "/db", 1003: "/dbx", 1200: "/a b/c"}
    return [
        replace(row, process=replace(row.process, cgroup=groups.get(row.process.pid, "/")), load=0.75)
        if row.process.pid in groups
        else row
        for row in rows
    ], topology


ROWS, TOPOLOGY = rows_of(FakeKernel())


def found(text: str) -> set[int]:
    wanted = Filter.parse(text, TOPOLOGY)
    assert not wanted.problems
    return {row.process.pid for row in ROWS if wanted.fits(row)}


def where(condition) -> set[int]:
    return {row.process.pid for row in ROWS if condition(row)}


def on(row: ProcessRow, node: int) -> int:
    return (row.by_node or {}).get(node, 0)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", lambda row: True),
        ("redis", lambda row: "redis" in row.process.command),
        ("REDIS 6380", lambda row: row.process.pid == 1301),
        ('"background writer"', lambda row: row.process.pid == 1002),
        ("*:6379", lambda row: row.process.pid == 1300),
        ("user:ada", lambda row: row.process.user == "ada"),
        ("!user:ada", lambda row: row.process.user != "ada"),
        ("user:ada vim", lambda row: row.process.pid == 3044),
        ("node:2", lambda row: on(row, 2) > 0),
        ("node:1-2 !node:0", lambda row: (on(row, 1) or on(row, 2)) and not on(row, 0)),
        ("on:3", lambda row: 3 in row.places),
        ("cgroup:/db", lambda row: row.process.pid in (1001, 1002, 1003)),
        ('cgroup:"/a b"', lambda row: row.process.pid == 1200),
        ("cgroup:db*", lambda row: row.process.pid in (1001, 1002, 1003)),
        ("cgroup:main", lambda row: row.process.pid == 1001),
        ("match:*postgres*", lambda row: "postgres" in row.process.command),
        ("min:1G", lambda row: row.resident >= 1 << 30),
        ("regex:^java", lambda row: row.process.command.startswith("java")),
        ("cpuset:/machine", lambda row: row.process.cpuset == "/machine"),
        ("policy:bind", lambda row: row.policy.startswith("bind")),
        ("pid:1,412", lambda row: row.process.pid in (1, 412)),
        ("state:s", lambda row: row.process.state == "S"),
        ("local<50", lambda row: row.local is not None and row.local < 0.5),
        ("local<50%", lambda row: row.local is not None and row.local < 0.5),
        ("local=100", lambda row: row.local == 1.0),
        ("rss>=1G", lambda row: row.resident >= 1 << 30),
        ("far>500M", lambda row: (far_bytes(row) or 0) > 500 << 20),
        ("threads>8", lambda row: row.process.threads > 8),
        ("cpu>50", lambda row: row.load is not None and row.load > 0.5),
        ("n3>0 n3<100M", lambda row: 0 < on(row, 3) < 100 << 20),
        ("swap>0", lambda row: False),
    ],
)  # fmt: skip
def test_words_say_what_they_say(text: str, condition) -> None:
    assert found(text) == where(condition)
    assert text in ("", "state:s", "swap>0") or set() < found(text) < where(lambda _: True)


def test_the_cost_of_distance_is_that_of_the_distances() -> None:
    row = next(row for row in ROWS if row.process.pid == 1301)
    (here,) = row.places
    far = sum(amount * TOPOLOGY.distance(here, node) for node, amount in (row.by_node or {}).items())
    cost = far / row.resident / 10
    assert 1301 in found(f"cost>{cost - 0.01:.6f}")
    assert 1301 not in found(f"cost>{cost + 0.01:.6f}")


@pytest.mark.parametrize("text", ["local<", "rss>x", "node:", "node:9", "on:3-1", "threads>many", "n1>-"])
def test_what_is_half_typed_hides_nothing_and_is_told(text: str) -> None:
    wanted = Filter.parse(f"redis {text}", TOPOLOGY)
    assert len(wanted.problems) == 1
    assert {row.process.pid for row in ROWS if wanted.fits(row)} == {1300, 1301}


@given(st.text(max_size=60))
def test_any_text_is_a_filter(text: str) -> None:
    wanted = Filter.parse(text, TOPOLOGY)
    for row in ROWS:
        wanted.fits(row)


@given(st.text(st.characters(exclude_characters='"', exclude_categories=["C"]), min_size=1, max_size=20))
def test_a_word_set_by_a_choice_finds_that_and_only_once(name: str) -> None:
    row = replace(ROWS[0], process=replace(ROWS[0].process, user=name, cgroup="/"))
    text = with_word(with_word("x user:old", "user", "other"), "user", name)
    assert text.startswith("x user:")
    wanted = Filter.parse(text.removeprefix("x "), TOPOLOGY)
    assert wanted.fits(row)
    assert len(wanted.terms) == 1
    assert with_word(text, "user", "") == "x"


@pytest.mark.parametrize("text", ["foo>3", "locl<50", "foo<5 bar"])
def test_names_that_are_not_compared_are_told(text: str) -> None:
    found = Filter.parse(text, TOPOLOGY)
    assert "there is no" in found.problems[0]


def test_text_with_an_equals_sign_is_text() -> None:
    assert not Filter.parse("--shard=3", TOPOLOGY).problems
