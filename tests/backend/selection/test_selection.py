"""Which processes a selection selects, of a machine and of single processes; hostile names and values."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.emulator.scenario.open import open_scenario
from backend.errors import NotFound, NumatuiError, UsageError
from backend.kernel import Kernel
from backend.process.process import Identity, Process, pids, read_process
from backend.selection.selection import Selection, matcher, select, term_of
from backend.selection.terms import LONGEST, SELECTORS, term

UID = "0a1b2c3d-1111-2222-3333-444455556666"
PLAIN = Process(
    identity=Identity(4242, 7), ppid=1, comm="ora_dbw0", command="/opt/oracle/bin/ora_dbw0 PROD", uid=1001,
    user="oracle", state="S", threads=1, cpu=0, rss=100 << 20, swap=0, cpus_allowed=None, mems_allowed=None, cpuset="/",
    is_kernel_thread=False, cgroup="/system.slice/oracle.service/main",
)  # fmt: skip


def process(**changes: Any) -> Process:
    return replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("selector", "value", "fits"),
    [
        ("user", "oracle", True), ("user", "1001", True), ("user", "ora", False), ("user", "or*", False),
        ("match", "ora_*", True), ("match", "ora", False), ("match", "*PROD", True), ("match", "*prod", False),
        ("match", "/opt/*/ora_dbw[0-9] *", True),
        ("regex", "dbw\\d PROD$", True), ("regex", "^ora_", True), ("regex", "^PROD", False),
        ("cgroup", "/system.slice", True), ("cgroup", "/system.slice/", True), ("cgroup", "/system", False),
        ("cgroup", "/", True), ("cgroup", "oracle.service", True), ("cgroup", "oracle", False),
        ("cgroup", "oracle*", True), ("cgroup", "system.slice/oracle.service", True), ("cgroup", "slice", False),
        ("cgroup", "/oracle.service", False), ("cgroup", "/*/oracle.service", True), ("cgroup", "/*/*/*/*", False),
        ("cgroup", "oracle.service/main", True), ("cgroup", "system.slice/main", False),
        ("unit", "oracle", True), ("unit", "oracle.service", True), ("unit", "system.slice", True),
        ("unit", "ora*", True), ("unit", "main", False), ("pod", UID, False), ("vm", "oracle", False),
    ],
)  # fmt: skip
def test_one_selector(selector: Any, value: str, fits: bool) -> None:
    assert term(selector, value)(PLAIN) is fits


@pytest.mark.parametrize(
    ("cgroup", "selector", "values"),
    [
        (f"/kubepods/burstable/pod{UID}/abc", "pod", [UID, UID.upper(), f"pod{UID}", UID.replace("-", "_"), "0a1b*"]),
        (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{'a' * 64}.scope", "pod", [UID]),
        ("/machine.slice/machine-qemu\\x2d3\\x2dweb\\x2d01.scope/libvirt/emulator", "vm", ["web-01", "web*"]),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", "unit", ["app-x.scope", "user@1000"]),
        ("/system.slice/a\\x2db.service", "unit", ["a-b", "a-b.service"]),
    ],
)
def test_names_in_a_path(cgroup: str, selector: Any, values: list[str]) -> None:
    for value in values:
        assert term(selector, value)(process(cgroup=cgroup)), value
        assert not term(selector, value)(process(cgroup="/other")), value


def test_a_cpuset_of_v1_counts_as_well() -> None:
    assert term("cgroup", "/batch")(process(cgroup="/", cpuset="/batch/7"))


def test_of_one_selector_any_and_of_several_all() -> None:
    assert term_of(Selection(user=("nobody", "oracle")))(PLAIN)
    assert term_of(Selection(user=("nobody", "oracle"), match=("ora*",)))(PLAIN)
    assert not term_of(Selection(user=("oracle",), match=("pg*",)))(PLAIN)
    assert term_of(Selection(pids=(1,), patterns=("DBW0",)))(PLAIN)
    assert not term_of(Selection(pids=(4242,), user=("root",)))(PLAIN)
    assert term_of(Selection(minimum=100 << 20))(PLAIN)
    assert not term_of(Selection(minimum=(100 << 20) + 1))(PLAIN)


def test_numatui_itself_is_selected_by_its_pid_alone() -> None:
    me = process(identity=Identity(os.getpid(), 1))
    assert not term_of(Selection(match=("*",)), os.getpid())(me)
    assert not term_of(Selection(patterns=("ora",)), os.getpid())(me)
    assert term_of(Selection(pids=(os.getpid(),)), os.getpid())(me)
    assert term_of(Selection(), os.getpid())(me)
    assert term_of(Selection(tree=True), os.getpid())(me)


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("value", ["", "x" * (LONGEST + 1)])
def test_values_that_select_nothing_are_refused(selector: Any, value: str) -> None:
    with pytest.raises(UsageError):
        term(selector, value)


@pytest.mark.parametrize("value", ["(", "a{2,1}", "[", "(?P<a>", "*", "(?z)", "a{999999999999}"])
def test_what_is_no_regular_expression_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression"):
        term("regex", value)


@pytest.mark.parametrize("value", ["..", "/a/../b", "./x"])
def test_paths_do_not_leave_the_tree(value: str) -> None:
    with pytest.raises(UsageError):
        term("cgroup", value)


any_text = st.text(max_size=30)


@given(st.sampled_from(SELECTORS), any_text, any_text, any_text, any_text)
def test_any_value_and_any_process(selector: Any, value: str, command: str, cgroup: str, cpuset: str) -> None:
    try:
        fits = term(selector, value)
    except UsageError:
        return
    one = process(comm=command, command=command, cgroup=cgroup, cpuset=cpuset, user=command)
    assert fits(one) in (True, False)
    assert fits(one) == fits(one)


@given(st.lists(st.sampled_from(["a", "b", "a.service", "x y"]), max_size=5), st.data())
def test_a_path_from_the_root_fits_what_is_below_it(parts: list[str], data: st.DataObject) -> None:
    path = "/" + "/".join(parts)
    above = data.draw(st.integers(0, len(parts)))
    wanted = "/" + "/".join(parts[:above])
    assert term("cgroup", wanted)(process(cgroup=path, cpuset="/-"))
    assert not term("cgroup", wanted + "x")(process(cgroup=path, cpuset="/-"))


def test_a_command_line_is_compared_as_far_as_it_is_shown() -> None:
    huge = process(comm="x", command="a" * 10_000_000 + "b")
    assert not term("regex", "b$")(huge)
    assert not term("match", "*b")(huge)


@pytest.fixture(scope="module")
def demo() -> Kernel:
    return open_scenario("default")


def test_the_demo_by_user_and_tree(demo: Kernel) -> None:
    every = [read_process(demo, pid) for pid in pids(demo)]
    assert [one.pid for one in select(demo, Selection())] == [one.pid for one in every if not one.is_kernel_thread]
    user = every[-1].user
    assert {one.pid for one in select(demo, Selection(user=(user,)))} == {
        one.pid for one in every if one.user == user and not one.is_kernel_thread
    }
    assert len(select(demo, Selection(pids=(1,)))) == 1
    below = select(demo, Selection(pids=(1,), tree=True))
    assert below[0].pid == 1
    assert {one.ppid for one in below[1:]} <= {one.pid for one in below}
    assert len(below) > 1


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(pids=(99999,)), "there is no process 99999"),
        (Selection(pids=(1,), user=("nobody",)), "process 1 does not match 1 --user nobody"),
        (Selection(match=("nope*",)), "no process matches --match 'nope*'"),
        (Selection(cgroup=("/nope",)), "no process is in the cgroup /nope"),
        (Selection(pids=(99999,), patterns=("init",)), "process 99999 does not match"),
        (Selection(match=("\x1b[31m",)), "no process matches"),
    ],
)
def test_who_is_not_there_is_an_error(demo: Kernel, selection: Selection, words: str) -> None:
    with pytest.raises(NotFound) as caught:
        select(demo, selection)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_cgroup_by_its_path_in_the_filesystem(demo: Kernel) -> None:
    inside = matcher(demo, Selection(cgroup=("/sys/fs/cgroup/system.slice",)))
    assert inside(PLAIN)
    assert not inside(process(cgroup="/user.slice"))
    assert matcher(demo, Selection(cgroup=("/sys/fs/cgroup",)))(PLAIN)


@given(st.lists(any_text, max_size=3), st.lists(any_text, max_size=3), st.integers(0, 1 << 40))
def test_the_text_of_a_selection_is_harmless(match: list[str], names: list[str], minimum: int) -> None:
    assert Selection(match=tuple(match), patterns=tuple(names), minimum=minimum).text.isprintable()


def test_errors_are_errors_of_numatui() -> None:
    with pytest.raises(NumatuiError):
        term_of(Selection(regex=("(",)))
