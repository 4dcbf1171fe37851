"""Policies: what they mean, and what is refused with its line and key."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound, NotPermitted, NumatuiError, ParseError
from backend.mover.ledger import Ledger
from backend.mover.policy import KEYS, Hours, Policy, load_policy, parse_policy
from backend.mover.rule import Rule
from backend.process.process import Identity, Process
from backend.selection.selection import Selection
from backend.selection.terms import SELECTORS
from tests.kernels.fake_kernel import FakeKernel

PROCESS = Process(
    identity=Identity(7, 1),
    ppid=1,
    comm="postgres",
    command="/usr/bin/postgres -D /db",
    uid=104,
    user="postgres",
    state="R",
    threads=1,
    cpu=0,
    rss=0,
    swap=0,
    cpus_allowed=None,
    mems_allowed=None,
    cpuset="/",
    cgroup="/db/primary",
    ticks=0,
    is_kernel_thread=False,
)
KERNEL: Any = FakeKernel()


def test_all_of_it() -> None:
    policy = parse_policy(
        """
interval: 5s
settle: 1min
confidence: high
min_gain: 1.3
min_size: 64MiB
readings: 4
cooldown: 1h
max_per_round: 2
max_per_hour: 8G
max_rate: 100M
max_stall: 5ms
workers: 2
quiet: ["08:00-18:00", "22:30-06:00"]
allow: [{user: postgres}, {cgroup: "/db/*", command: "java*"}]
deny: [{command: "*backup*"}]
stop: {errors: 5, pressure: 20%}
"""
    )
    assert policy == Policy(
        5.0, 60.0, "high", 1.3, 64 << 20, 4, 3600.0, 2, 8 << 30, 100 << 20, 0.005, 2,
        (Hours(480, 1080), Hours(1350, 360)),
        (Rule(Selection(user=("postgres",))), Rule(Selection(match=("java*",), cgroup=("/db/*",)))),
        (Rule(Selection(match=("*backup*",))),), 5, 0.2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "must be a mapping"),
        ("interval: 0s", "policy:1: interval: must be at least"),
        ("intervall: 1s", "unknown key"),
        ("min_gain: 0.9", "at least 1"),
        ("min_gain: nan", "at least 1"),
        ("confidence: sure", "low, medium, high"),
        ("readings: 0", "must be a number from 1"),
        ("quiet: ['8-18']", "span of hours"),
        ("quiet: ['08:00-08:00']", "begins when it ends"),
        ("quiet: ['24:00-01:00']", "span of hours"),
        ("allow: [{}]", "allow[0]: is empty"),
        ("allow: []", "allow: is empty"),
        ("max_stall: 20", "more than a second"),
        ("allow: [{usr: x}]", "unknown key"),
        ("deny: {user: x}", "must be a list"),
        ("stop: {pressure: 200%}", "not a share"),
        ("a: &x 1", "anchors"),
        ("interval: 5s\ninterval: 6s", "given twice"),
        ("x: [", "not YAML"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_policy(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


yaml_like = st.recursive(
    st.sampled_from(["1", "5s", "x", "80%", "64M", "'08:00-09:00'", "~", "1e999", "-1", "\x1b[31m"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from([*KEYS, *SELECTORS, "command", "min", "exe", "errors", "pressure"]), inner, max_size=4
        ).map(lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}")
    ),
    max_leaves=8,
)


@given(yaml_like | st.text(max_size=80))
def test_anything_is_a_policy_or_one_line(text: str) -> None:
    try:
        policy = parse_policy(text)
    except NumatuiError as exc:
        told = str(exc)
        assert told.isprintable() or "\x1b" not in told
    else:
        assert policy.readings >= 1
        assert policy.interval > 0


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(Selection()), True),
        (Rule(Selection(user=("postgres",))), True),
        (Rule(Selection(user=("104",))), True),
        (Rule(Selection(user=("root",))), False),
        (Rule(Selection(match=("postgres",))), True),
        (Rule(Selection(match=("post*",))), True),
        (Rule(Selection(match=("*-D*",))), True),
        (Rule(Selection(match=("-D",))), False),
        (Rule(Selection(cgroup=("/db/*",))), True),
        (Rule(Selection(cgroup=("/db",))), True),
        (Rule(Selection(cgroup=("/d",))), False),
        (Rule(Selection(cgroup=("/*/*/*",))), False),
        (Rule(Selection(user=("postgres",), cgroup=("/web/*",))), False),
    ],
)
def test_rules(rule: Rule, fits: bool) -> None:
    assert rule.fits(KERNEL, PROCESS) == fits
    assert Policy(allow=(rule,)).may_move(KERNEL, PROCESS) == fits
    assert Policy(deny=(rule,)).may_move(KERNEL, PROCESS) == (not fits)
    assert Policy(allow=(rule,), deny=(Rule(Selection(user=("postgres",))),)).may_move(KERNEL, PROCESS) is False


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_hours_are_either_in_a_span_or_in_the_rest_of_the_day(since: int, to: int, minute: int) -> None:
    if since != to:
        assert Hours(since, to).include(minute) != Hours(to, since).include(minute)
        assert Hours(since, to).include(since)
        assert not Hours(since, to).include(to)


def test_quiet_hours_are_local_time() -> None:
    noon = time.mktime((2026, 5, 5, 12, 0, 0, 0, 0, -1))
    policy = parse_policy("quiet: ['11:30-12:30']")
    assert policy.is_quiet(noon)
    assert not policy.is_quiet(noon + 3600)


def test_the_file_has_to_be_there_readable_and_roots_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.yaml"
    with pytest.raises(NotFound):
        load_policy(path)
    path.write_text("interval: 7s")
    path.chmod(0o644)
    assert load_policy(path).interval == 7
    os.mkfifo(tmp_path / "fifo")
    path.write_bytes(b"\xff")
    with pytest.raises(ParseError):
        load_policy(path)
    path.write_text("#" * (2 << 20))
    with pytest.raises(ParseError):
        load_policy(path)
    path.write_text("interval: 7s")
    path.chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NotPermitted, match="chmod go-w"):
        load_policy(path)


def test_rests_double_only_for_those_that_come_up_again_soon() -> None:
    ledger, one = Ledger(), Identity(1, 1)
    now = 0.0
    for doubled in (1, 2, 4, 8):
        assert ledger.resting(one, now) == 0
        ledger.tried(one, now, 10, 5)
        assert ledger.resting(one, now) == 10 * doubled
        now += 10 * doubled
    now += 1000
    ledger.tried(one, now, 10, 5)
    assert ledger.resting(one, now) == 10
    assert ledger.moved_lately(now) == 25
    assert ledger.moved_lately(now + 3601) == 0
    ledger.reading([], [])
    assert ledger.resting(one, now) == 0
