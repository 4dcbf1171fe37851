"""Several processes in one job: what has no room beside others, or has gone, is left out and said."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.errors import NotFound
from backend.job.job import Job
from backend.job.options import Options
from backend.job.together import plan_one, plan_together
from backend.job.undo import plan_undo
from backend.journal.past_jobs import find_job
from backend.nodeset import NodeSet
from backend.placement.reader import PlacementReader
from backend.process.process import Process, read_process
from tests.emulator.machines import machine, region

PAGES = 1024
ONE, TWO, THREE = NodeSet([1]), NodeSet([2]), NodeSet([3])


def machine_with(*amounts: dict[int, int], nodes: int = 4) -> tuple[EmulatedKernel, list[Task]]:
    """A task for each of `amounts`, pages by node."""
    m = machine("linux-6", nodes=nodes, pages=PAGES)
    tasks = [spawn(m, f"t{number}", cpu=0, pid=50 + number) for number in range(len(amounts))]
    for task, amount in zip(tasks, amounts, strict=True):
        region(m, task, amount)
    return EmulatedKernel(m), tasks


def held(kernel: EmulatedKernel, task: Task) -> dict[int, int]:
    found = PlacementReader(kernel).read(read_process(kernel, task.pid)).bytes_by_node
    return {node: amount // kernel.page_size for node, amount in found.items() if amount}


def process(kernel: EmulatedKernel, task: Task) -> Process:
    return read_process(kernel, task.pid)


def test_each_goes_its_own_way_and_one_undo_takes_all_back(tmp_path: Path) -> None:
    kernel, (first, second) = machine_with({0: 100, 2: 10}, {0: 50, 1: 20})
    made = plan_together(
        kernel,
        [
            partial(plan_one, kernel, process(kernel, first), NodeSet([0]), THREE),
            partial(plan_one, kernel, process(kernel, second), NodeSet([0]), TWO),
        ],
    )
    assert not made.left_out
    assert made.plan is not None
    folder = tmp_path / "jobs"
    options = Options(journal_dir=folder)
    done = Job(kernel, made.plan, options).run()
    assert done.complete
    assert held(kernel, first) == {3: 100, 2: 10}
    assert held(kernel, second) == {2: 50, 1: 20}
    back = plan_undo(kernel, find_job(folder, done.job))
    assert Job(kernel, back, options).run().complete
    assert held(kernel, first) == {0: 100, 2: 10}
    assert held(kernel, second) == {0: 50, 1: 20}


def test_what_has_no_room_beside_the_others_is_left_out_and_named() -> None:
    kernel, tasks = machine_with({0: 600}, {2: 600}, {3: 20})
    plans = [
        partial(plan_one, kernel, process(kernel, task), NodeSet([node]), ONE)
        for task, node in zip(tasks, (0, 2, 3), strict=True)
    ]
    made = plan_together(kernel, plans)
    assert made.plan is not None
    assert [one.process.pid for one in made.plan.processes] == [50, 52], "the first to come has the room"
    assert all(room.enough for room in made.plan.room)
    assert len(made.left_out) == 1
    assert "51" in made.left_out[0]
    assert "room" in made.left_out[0]


def test_what_has_gone_is_left_out_and_another_with_its_pid_too() -> None:
    kernel, (first, second) = machine_with({0: 10}, {0: 10})
    known = [process(kernel, one) for one in (first, second)]
    do_exit(kernel.machine, first)
    do_exit(kernel.machine, second)
    other = spawn(kernel.machine, "other", cpu=0, pid=second.pid)
    region(kernel.machine, other, {0: 10})
    with pytest.raises(NotFound, match="another has its number"):
        plan_one(kernel, known[1], NodeSet([0]), ONE)
    made = plan_together(kernel, [partial(plan_one, kernel, one, NodeSet([0]), ONE) for one in known])
    assert made.plan is None
    assert len(made.left_out) == 2


def test_what_moves_nothing_is_not_in_the_plan() -> None:
    kernel, tasks = machine_with({0: 10}, {1: 10})
    plans = [partial(plan_one, kernel, process(kernel, one), NodeSet([0]), ONE) for one in tasks]
    made = plan_together(kernel, plans)
    assert made.plan is not None
    assert [one.process.pid for one in made.plan.processes] == [50]
    assert not made.left_out


AMOUNTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 300), st.integers(0, 3)).filter(lambda one: one[0] != one[2]),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(AMOUNTS)
def test_what_is_planned_together_has_room_and_moves_whole(wanted: list[tuple[int, int, int]]) -> None:
    totals = [sum(pages for node, pages, _ in wanted if node == one) for one in range(4)]
    if max(totals) > PAGES * 3 // 4:
        return
    kernel, tasks = machine_with(*({node: pages} for node, pages, _ in wanted))
    made = plan_together(
        kernel,
        [
            partial(plan_one, kernel, process(kernel, task), NodeSet([node]), NodeSet([target]))
            for task, (node, _, target) in zip(tasks, wanted, strict=True)
        ],
    )
    planned = {one.process.pid for one in made.plan.processes} if made.plan else set[int]()
    assert len(planned) + len(made.left_out) == len(wanted)
    assert made.plan is None or all(room.enough for room in made.plan.room)
    assert made.plan is None or "no-room" not in made.plan.stays
