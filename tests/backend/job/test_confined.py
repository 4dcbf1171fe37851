"""Jobs that confine: everybody in the cpuset is planned, moved and told; killed between any two steps, `undo` gives
back mems and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.emulator.mm.fork import fork
from backend.emulator.mm.mm import Vma
from backend.emulator.tasks.life import do_exit
from backend.errors import NotFound, NumatuiError
from backend.job.events import CpusetChanged, Event, PartBegan
from backend.job.job import Job
from backend.job.options import Options
from backend.job.outcome import Outcome, exit_code
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.job.undo import plan_undo
from backend.journal import journal
from backend.journal.past_jobs import find_job, list_jobs
from backend.plan.plan import Plan
from backend.plan.remap import Move
from backend.selection.selection import Selection
from backend.state import private_file
from tests.backend.job.test_undo_interrupted import Death, Killed, small_batches
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import nodes_of, region
from tests.emulator.tasks.cpuset_machine import Admin
from tests.kernels.around import Around

PAGE = 4096


class Scene:
    """/A (mems 0-1) with a task, another that shares pages with its child, and /A/inner (mems 1) below; one outside."""

    def __init__(self, folder: Path) -> None:
        self.admin, self.folder = Admin(pages=2048), folder / "jobs"
        m = self.admin.m
        self.admin.create("A", "0-1")
        self.admin.create("inner", "1", "A")
        self.mine, self.other, self.inner, self.outside = (self.admin.spawn(path) for path in ("A", "A", "A/inner", ""))
        self.vmas: list[Vma] = [
            region(m, self.mine, {0: 12, 1: 6}), region(m, self.other, {0: 5, 1: 4}), region(m, self.inner, {1: 3}),
            region(m, self.outside, {0: 2}),
        ]  # fmt: skip
        self.child = m.run(fork(m, self.other))
        self.kernel: Any = Around(self.admin.kernel)

    @property
    def nodes(self) -> list[list[int]]:
        return [nodes_of(self.admin.m, vma) for vma in self.vmas]

    @property
    def mems(self) -> list[str]:
        return [self.admin.read(name, "cpuset.mems") for name in ("A", "A/inner")]

    def plan(self, **more: Any) -> Plan:
        return plan(self.kernel, MoveRequest(Selection((self.mine.pid,)), "0", "2", confine=True, **more))

    def run(self, made: Plan, **more: Any) -> Outcome:
        with small_batches():
            return Job(self.kernel, made, Options(journal_dir=self.folder, workers=1)).run(**more)

    def undo(self) -> Outcome:
        return self.run(plan_undo(self.kernel, find_job(self.folder, None)))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_plan_names_and_counts_everybody(scene: Scene) -> None:
    made = scene.plan()
    amounts = {one.process.pid: (one.bytes // PAGE, one.confined) for one in made.processes}
    assert amounts == {
        scene.mine.pid: (18, False), scene.other.pid: (9, True), scene.child.pid: (9, True), scene.inner.pid: (3, True),
    }  # fmt: skip
    (warning,) = [one for one in made.warnings if one.code == "confined"]
    assert "/A will have the nodes 2 instead of 0-1" in warning.text
    assert str(scene.other.pid) in warning.text
    (room,) = made.room
    assert room.incoming == 39 * PAGE


def test_all_of_them_are_told_as_they_are_after_the_cpuset_was_narrowed(scene: Scene) -> None:
    before = scene.nodes
    made = scene.plan()
    events: list[Event] = []
    outcome = scene.run(made, on_event=events.append)
    assert exit_code(made, outcome) == 0, outcome.errors
    assert scene.mems == ["2", "1"]
    assert scene.nodes == [[2] * 18, [2] * 9, [2] * 3, [0] * 2]
    parts = {one.process.pid: one for one in outcome.parts}
    assert parts[scene.mine.pid].moved == 18 * PAGE
    assert parts[scene.mine.pid].after == {2: 18 * PAGE}
    assert parts[scene.inner.pid].moved == 3 * PAGE
    assert parts[scene.other.pid].after == {2: 9 * PAGE}
    assert [one.mems for one in events if isinstance(one, CpusetChanged)] == [made.confinements[0].wide, made.targets]
    assert [(one.path, str(one.before), str(one.now)) for one in outcome.cpusets] == [("/A", "0-1", "2")]
    back = scene.undo()
    assert not back.errors
    assert scene.mems == ["0-1", "1"]
    assert scene.nodes == before
    assert find_job(scene.folder, outcome.job).undone_by == back.job
    check_at_rest(scene.admin.m)


def test_it_narrows_the_cpuset_that_it_widened_wherever_the_process_is_by_then(scene: Scene) -> None:
    scene.admin.create("B", "0-3")
    bystander = scene.admin.spawn("B")

    def leave(event: Event) -> None:
        if isinstance(event, PartBegan):
            scene.admin.attach("B", scene.mine)

    scene.run(scene.plan(), on_event=leave)
    assert scene.admin.read("B", "cpuset.mems") == "0-3"
    assert bystander.alive
    assert scene.mems == ["2", "1"]


def test_what_somebody_else_writes_meanwhile_is_left_alone(scene: Scene) -> None:
    def write(event: Event) -> None:
        if isinstance(event, PartBegan):
            scene.admin.mems("A", "0-3")

    made = scene.plan()
    outcome = scene.run(made, on_event=write)
    assert "somebody else" in outcome.error
    assert exit_code(made, outcome) == 6
    assert scene.mems[0] == "0-3"


def test_one_that_has_come_since_does_not_keep_the_job_from_being_taken_back(scene: Scene) -> None:
    done = scene.run(scene.plan())
    late = scene.admin.spawn("A/inner")
    vma = region(scene.admin.m, late, {2: 3})
    back = scene.undo()
    assert not back.errors
    assert nodes_of(scene.admin.m, vma) == [0] * 3 or nodes_of(scene.admin.m, vma) == [1] * 3
    assert find_job(scene.folder, done.job).undone_by == back.job


def test_one_that_ends_meanwhile_does_not_keep_the_cpuset_wide(scene: Scene) -> None:
    made = scene.plan()
    do_exit(scene.admin.m, scene.inner)

    def end(event: Event) -> None:
        if isinstance(event, PartBegan) and event.process.pid == scene.other.pid:
            do_exit(scene.admin.m, scene.other)

    outcome = scene.run(made, on_event=end)
    assert scene.mems == ["2", "1"]
    assert {one.process.pid for one in outcome.failures} == {scene.inner.pid}
    assert scene.nodes[0] == [2] * 18


def test_a_journal_that_cannot_be_written_keeps_the_kernel_from_moving_more(scene: Scene) -> None:
    real = journal.Journal.before

    def full(self: journal.Journal, part: int, move: Move, *rest: Any) -> int:
        if move == Move(1, 2) and rest[-1]:
            raise NumatuiError("the disk is full")
        return real(self, part, move, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Journal, "before", full)
        outcome = scene.run(scene.plan())
    assert "the disk is full" in outcome.error
    assert scene.mems == ["0-2", "1"]
    assert scene.nodes[2] == [1] * 3
    scene.undo()
    assert scene.mems == ["0-1", "1"]


def test_one_that_joins_meanwhile_is_told(scene: Scene) -> None:
    def join(event: Event) -> None:
        if isinstance(event, PartBegan):
            scene.admin.attach("A/inner", scene.outside)

    outcome = scene.run(scene.plan(), on_event=join)
    assert f"process {scene.outside.pid} joined" in outcome.error
    assert scene.nodes[3] == [2, 2]


def test_a_cpuset_whose_processes_have_all_ended_is_restored_all_the_same(scene: Scene) -> None:
    scene.run(scene.plan())
    for task in (scene.mine, scene.other, scene.child, scene.inner):
        do_exit(scene.admin.m, task)
    made = plan_undo(scene.kernel, find_job(scene.folder, None))
    assert {one.code for one in made.warnings} >= {"ended", "confined"}
    assert not scene.run(made).errors
    assert scene.mems == ["0-1", "1"]
    with pytest.raises(NotFound):
        find_job(scene.folder, None)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_killed_between_any_two_steps_it_can_be_taken_back(tmp_path: Path, part: float) -> None:
    fatal, died = 1, True
    while died:
        scene = Scene(tmp_path / f"{fatal}-{part}")
        before, mems = scene.nodes, scene.mems
        died = _killed(scene, Death(fatal, part))
        jobs, problems = list_jobs(scene.folder)
        assert not problems
        ended = jobs[0].state == "done"
        assert ended != died or part == 1.0, "it may die right after its end was written"
        scene.undo()
        assert scene.mems == mems, fatal
        assert scene.nodes == before, fatal
        check_at_rest(scene.admin.m)
        fatal += 1
    assert fatal > 20


def _killed(scene: Scene, death: Death) -> bool:
    """The journal, the calls and the writes are steps."""
    write = scene.kernel.write

    def dying(path: str, data: bytes) -> None:
        last = death.step()
        if not last or death.part:
            write(path, data)
        if last:
            raise Killed

    made = scene.plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_file, "append", death.append)
        patch.setattr(scene.kernel, "move_pages", death.calls(scene.kernel), raising=False)
        patch.setattr(scene.kernel, "write", dying, raising=False)
        try:
            scene.run(made)
        except Killed:
            return True
    return False
