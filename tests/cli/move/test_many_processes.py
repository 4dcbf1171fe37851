"""Choosing many processes (--tree, --cgroup), confining them (--cpuset), and who is named when others map the memory
too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.task import Task
from backend.job.events import PartBegan, PartEnded
from backend.job.job import Job
from numatui.cli.app import run
from numatui.cli.source import KernelChoice
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin

HOSTILE = "\x1b[2J evil\n"


class Machine:
    """Commands on one machine: /A (mems 0-1) with a task and its child, /A/inner (1) with another, one task in the
    root."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.admin, self.capsys = Admin(), capsys
        self.admin.create("A", "0-1")
        self.admin.create("inner", "1", "A")
        m = self.admin.m
        self.parent, self.inner, self.outside = (self.admin.spawn(path) for path in ("A", "A/inner", ""))
        self.vma = region(m, self.parent, {0: 4, 1: 2})
        self.child: Task = m.run(fork(m, self.parent))
        self.inner_vma = region(m, self.inner, {1: 3})
        self.outside_vma = region(m, self.outside, {0: 1})
        monkeypatch.setattr(KernelChoice, "open", lambda _: EmulatedKernel(m))

    def __call__(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """Its document."""
        out = self.text(*arguments, "--json", code=code)[0]
        return json.loads(out) if out else {}

    def text(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        got = run([str(one) for one in arguments])
        out, err = self.capsys.readouterr()
        assert got == code, (out, err)
        check_at_rest(self.admin.m)
        return out, err

    def nodes(self, vma: Vma) -> list[int]:
        return nodes_of(self.admin.m, vma)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], private_state: Any) -> Machine:
    return Machine(monkeypatch, capsys)


def pids(document: dict[str, Any]) -> list[int]:
    return [one["pid"] for one in document["processes"]]


def test_a_tree_is_the_process_and_what_descends_from_it(box: Machine) -> None:
    arguments = ("plan", box.parent.pid, "--from", "0", "--to", "1")
    assert pids(box(*arguments)) == [box.parent.pid]
    assert pids(box(*arguments, "--tree")) == [box.parent.pid, box.child.pid]


def test_a_cgroup_is_all_that_are_in_it_and_below(box: Machine) -> None:
    chosen = pids(box("plan", "--cgroup", "/A", "--from", "0", "--to", "1"))
    assert chosen == [box.parent.pid, box.inner.pid, box.child.pid]
    assert pids(box("plan", "--cgroup", "A/inner", "--from", "1", "--to", "0")) == [box.inner.pid]
    several = pids(box("plan", "--cgroup", "B", "--cgroup", "A/inner", "--from", "1", "--to", "0"))
    assert several == [box.inner.pid]
    _, err = box.text("plan", box.outside.pid, "--cgroup", "A/inner", "--from", "1", "--to", "0", code=4)
    assert "does not match" in err


@pytest.mark.parametrize(("name", "code"), [("/nope", 4), ("../A", 2), ("", 2)])
def test_cgroups_that_are_none_are_refused(box: Machine, name: str, code: int) -> None:
    _, err = box.text("plan", f"--cgroup={name}", "--from", "0", "--to", "1", code=code)
    assert err.startswith("numatui: ")
    assert err.count("\n") == 1


def test_an_empty_cgroup_is_said_to_be_empty(box: Machine) -> None:
    box.admin.create("empty", "0")
    _, err = box.text("migrate", "--cgroup", "/empty", "--from", "0", "--to", "1", "--yes", code=4)
    assert "no process is in the cgroup" in err


def test_all_of_a_cgroup_move_and_each_has_its_outcome(box: Machine) -> None:
    done = box("migrate", "--cgroup", "/A", "--from", "1", "--to", "0", "--yes", "--all")
    assert [one["pid"] for one in done["outcomes"]] == [box.parent.pid, box.inner.pid, box.child.pid]
    assert box.nodes(box.vma) == [0] * 6
    assert box.nodes(box.inner_vma) == [0] * 3


def test_who_else_maps_the_pages_is_named_before_all_of_them_move(box: Machine) -> None:
    box.child.leader.name = HOSTILE.encode()
    out = box("plan", box.parent.pid, "--from", "0", "--to", "1", "--all")
    (warning,) = [one for one in out["warnings"] if one["code"] == "shared-moves"]
    assert f"({box.child.pid} \\x1b[2J evil\\n)" in warning["text"]


def test_confining_moves_gently_and_then_has_the_cpuset_at_the_targets(box: Machine) -> None:
    done = box("migrate", box.parent.pid, box.child.pid, "--from", "0-1", "--to", "2-3", "--yes", "--all", "--cpuset")
    assert done["cpusets"] == [
        {"path": "/A", "before": [0, 1], "after": [2, 3], "others": [box.inner.pid], "now": [2, 3]}
    ]
    assert {one["method"] for one in done["outcomes"]} == {"move_pages"}
    assert box.nodes(box.vma) == [2, 2, 2, 2, 3, 3]
    assert box.nodes(box.inner_vma) == [2] * 3, "the kernel moves what is in a cpuset below"
    (inner,) = [one for one in done["outcomes"] if one["confined"]]
    assert (inner["pid"], inner["moved"], inner["left"]) == (box.inner.pid, 3 * 4096, {})
    assert inner["before"] == {"1": 3 * 4096}
    assert "policy" not in {one["code"] for one in done["plan"]["warnings"]}
    (cpuset,) = [one for one in box("cpuset", "list")["cpusets"] if one["path"] == "/A"]
    assert cpuset["mems"] == [2, 3]


def test_confining_the_root_cpuset_is_refused_before_anything(box: Machine) -> None:
    _, err = box.text("migrate", box.outside.pid, "--from", "0", "--to", "1", "--yes", "--cpuset", code=2)
    assert "root cpuset" in err
    assert box.nodes(box.outside_vma) == [0]


def test_a_dry_run_says_which_cpuset_would_change_and_changes_nothing(box: Machine) -> None:
    arguments = ("migrate", box.parent.pid, "--from", "0-1", "--to", "2-3", "--cpuset", "--dry-run")
    out, err = box.text(*arguments)
    assert "/A will have the nodes 2-3 instead of 0-1" in err
    assert f"processes that were not named are in it too ({box.child.pid} t, {box.inner.pid} t)" in err
    assert "12K" in out
    assert box(*arguments)["cpusets"][0]["path"] == "/A"
    assert box.nodes(box.vma) == [0, 0, 0, 0, 1, 1]
    box.text("migrate", box.parent.pid, "--from", "3", "--to", "2", "--cpuset", code=2)


def cancel_after(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """The first event of that kind cancels the job."""
    real = Job.run

    def run(self: Job, on_event: Any, cancel: Any) -> Any:
        def told(event: Any) -> None:
            on_event(event)
            if isinstance(event, kind):
                cancel.set()

        return real(self, told, cancel)

    monkeypatch.setattr(Job, "run", run)


def test_a_cancelled_migration_leaves_the_cpuset_wide_and_says_so(
    box: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel_after(monkeypatch, PartBegan)
    _, err = box.text("migrate", box.child.pid, "--from", "0-1", "--to", "2-3", "--yes", "--cpuset", code=130)
    assert "cpuset /A may use the old nodes and the new ones now" in err
    assert "numatui undo 1 restores it" in err
    (cpuset,) = [one for one in box("cpuset", "list")["cpusets"] if one["path"] == "/A"]
    assert cpuset["mems"] == [0, 1, 2, 3]


def test_pages_that_move_pages_may_not_move_out_of_the_cpuset_are_moved_by_migrate_pages(
    box: Machine,
) -> None:
    arguments = ("migrate", box.inner.pid, "--from", "1", "--to", "3", "--yes")
    assert "fallback" not in {one["code"] for one in box(*arguments, code=7)["plan"]["warnings"]}
    assert box.nodes(box.inner_vma) == [1, 1, 1], "with CAP_SYS_NICE it would move what others map as well"
    done = box(*arguments, "--all")
    assert "fallback" in {one["code"] for one in done["plan"]["warnings"]}
    (outcome,) = done["outcomes"]
    assert outcome["method"] == "move_pages+migrate_pages"
    assert outcome["left"] == {}
    assert box.nodes(box.inner_vma) == [3, 3, 3]
    done = box("migrate", box.inner.pid, "--from", "3", "--to", "2", "--yes", "--method", "move_pages", code=7)
    assert set(done["outcomes"][0]["left"]) == {"refused"}


def test_a_signal_between_two_processes_is_not_called_success(box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel_after(monkeypatch, PartEnded)
    _, err = box.text("migrate", box.inner.pid, box.outside.pid, "--from", "0-1", "--to", "1", "--yes", code=130)
    assert "1 more processes were not started" in err


def test_the_same_command_again_has_nothing_to_do(box: Machine) -> None:
    arguments = ("migrate", box.outside.pid, "--from", "0", "--to", "1", "--yes")
    assert box(*arguments)["outcomes"][0]["moved"] == 4096
    again = box(*arguments)
    assert (again["job"], again["outcomes"]) == (None, [])
    assert box.text(*arguments)[0].endswith("nothing to do\n")


def test_what_the_plan_said_would_stay_is_no_failure(box: Machine) -> None:
    done = box("migrate", box.parent.pid, "--from", "0", "--to", "1", "--yes", "--method", "move_pages")
    assert done["outcomes"][0]["left"] == {"shared": 4 * 4096}
    assert done["plan"]["stays"] == {"shared": 4 * 4096}
