"""Who may do what: what a configuration allows, and that nothing else is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound, NumatuiError, ParseError
from backend.files.walk import Untrusted
from backend.helper.rules import Rule, Rules, load_rules, parse_rules
from backend.helper.subject import Facts

DBA = """
rules:
- users: [4001]
  groups: [500, "600"]
  processes: [own, "user:1234", "cgroup:/system.slice/postgresql@*.service"]
  nodes: 0-1,3
  rate: 2GiB
  move: true
- users: [4002]
  processes: [all]
"""


def facts(uid: int = 1, cgroup: str = "/") -> Facts:
    return Facts(uid, cgroup, 100)


class TestWhomItNames:
    def test_users_and_groups(self) -> None:
        rules = parse_rules(DBA)
        assert len(rules.of(4001, ()).rules) == 1
        assert len(rules.of(7, (1, 600)).rules) == 1
        assert len(rules.of(4002, (500,)).rules) == 2
        assert rules.of(7, (1,)) == rules.of(500, ()) == Rules()

    def test_root_is_none_of_them_unless_it_is_named(self) -> None:
        assert parse_rules(DBA).of(0, (0,)) == Rules()


class TestProcesses:
    @pytest.mark.parametrize(
        ("one", "covered"),
        [
            (facts(4001), True),
            (facts(1234), True),
            (facts(0), False),
            (facts(-1), False),
            (facts(0, "/system.slice/postgresql@16-main.service"), True),
            (facts(-1, "/system.slice/postgresql@16-main.service/worker"), True),
            (facts(0, "/system.slice/postgresql@16"), False),
            (facts(0, "/system.slice"), False),
            (facts(0, "/user.slice/system.slice/postgresql@x.service"), False),
            (facts(0, "/system.slice/postgresql@a/b.service"), False),
        ],
    )
    def test_own_of_a_user_and_in_a_cgroup(self, one: Facts, covered: bool) -> None:
        rule = parse_rules(DBA).rules[0]
        assert rule.covers(4001, one) is covered

    def test_own_is_of_the_caller(self) -> None:
        rule = parse_rules(DBA).rules[0]
        assert not rule.covers(7, facts(4001))
        assert rule.covers(7, facts(7))

    def test_all(self) -> None:
        assert parse_rules(DBA).rules[1].covers(4002, facts(-1))

    @given(
        st.text("/ab*?[]", max_size=12),
        st.lists(st.sampled_from(["a", "b", "ab", "*", ".."]), max_size=5),
    )
    def test_a_star_reaches_over_no_slash(self, pattern: str, names: list[str]) -> None:
        """What a pattern with as many stars covers has at least as many parts as the pattern."""
        rule = Rule(cgroups=("/" + pattern.strip("/"),))
        path = "/" + "/".join(names)
        if rule.covers(1, facts(2, path)):
            assert path.count("/") >= rule.cgroups[0].count("/")


def test_the_first_rule_that_allows_counts() -> None:
    rules = parse_rules(
        """
rules:
- {users: [7], processes: [all]}
- {users: [7], processes: ["user:9"], move: true, nodes: "1"}
- {users: [7], processes: [own], move: true}
"""
    )
    assert rules.find(7, facts(9), lambda one: one.move and one.nodes is not None) is rules.rules[1]
    assert rules.find(7, facts(8), lambda one: one.move) is None
    assert rules.find(7, facts(8), lambda one: True) is rules.rules[0]
    assert rules.find(7, facts(7), lambda one: one.move) is rules.rules[2]


def test_it_says_in_words_what_it_allows() -> None:
    first, second = parse_rules(DBA).rules
    assert first.text == (
        "look at and move own, user:1234, cgroup:/system.slice/postgresql@*.service to nodes 0-1,3, "
        "at most 2GiB a second"
    )
    assert second.text == "look at all"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: 7", "must be a list"),
        ("rule: []", "unknown key 'rule'"),
        ("rules: [{processes: [own]}]", "names nobody"),
        ("rules: [{users: [7]}]", "the key 'processes' is missing"),
        ("rules: [{users: [7], processes: []}]", "is empty"),
        ("rules: [{users: [7], processes: [mine]}]", "says nothing about processes"),
        ("rules: [{users: [7], processes: ['user:']}]", "says nothing about processes"),
        ("rules: [{users: [7], processes: ['cgroup:system.slice']}]", "is no path of a cgroup"),
        ("rules: [{users: [7], processes: ['cgroup:/']}]", "is no path of a cgroup"),
        ("rules: [{users: [no-such-user], processes: [own]}]", "there is no user 'no-such-user'"),
        ("rules: [{groups: [no-such-group], processes: [own]}]", "there is no group"),
        ("rules: [{users: [7], processes: ['user:no-such-user']}]", "there is no user"),
        ("rules: [{users: [7], processes: [own], nodes: ''}]", "is empty"),
        ("rules: [{users: [7], processes: [own], nodes: a}]", "is no set of nodes"),
        ("rules: [{users: [7], processes: [own], move: maybe}]", "must be true or false"),
        ("rules: [{users: [7], processes: [own], rate: 0, move: true}]", "moves nothing"),
        ("rules: [{users: [7], processes: [own], shared: true}]", "is for moving"),
        ("rules: [{users: [7], processes: [own], more: true}]", "unknown key 'more'"),
        ("rules:\n" + "- {users: [7], processes: [own]}\n" * 201, "more than 200 rules"),
        ("rules: &a [*a]", ""),
        ("rules: [", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_rules(text, "/etc/numatui/helper.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("/etc/numatui/helper.yaml:")


def test_an_empty_file_allows_nothing() -> None:
    assert parse_rules("") == parse_rules("# nothing") == parse_rules("rules: []") == Rules()


@given(st.text(max_size=60))
def test_any_text_is_rules_or_an_error(text: str) -> None:
    with suppress(NumatuiError):
        parse_rules(text)


class TestFile:
    def test_others_could_change_it(self, tmp_path: Path) -> None:
        path = tmp_path / "helper.yaml"
        path.write_text(DBA)
        path.chmod(0o666)
        with pytest.raises(Untrusted):
            load_rules(path)

    def test_it_is_not_there_no_text_or_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            load_rules(tmp_path / "none")
        (tmp_path / "bytes").write_bytes(b"\xff\xfe")
        with pytest.raises(ParseError):
            load_rules(tmp_path / "bytes")
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(NumatuiError):
            load_rules(tmp_path / "fifo")
