"""A page followed step by step: the same rows as in an undisturbed run, each with a sentence that fits."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from backend.emulator.inspect.explain import explain
from backend.emulator.inspect.trace import TraceRow
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.shipped import load
from backend.emulator.study.follow import Stage, open_stage
from backend.emulator.study.tour import BENEFITS, DIRECT, SWAP, measure

PAGES = [
    ("direct-vs-swap", DIRECT, "solver:vectors:3"),
    ("direct-vs-swap", SWAP, "solver:matrix:0"),
    ("dirty-files", DIRECT, "remote-writer:remote:0"),
    ("dirty-files", DIRECT, "writer:local:3"),
    ("fault-race", DIRECT, "worker:ring:0"),
    ("overlapping-sets", "linux-6", "shift:data:0"),
]


def all_rows(stage: Stage, one_step: bool = False) -> list[TraceRow]:
    for _ in range(100_000):
        if (stage.step() if one_step else stage.next_change()) == "over":
            return stage.rows
    raise AssertionError("it does not end")


@pytest.mark.parametrize("one_step", [False, True], ids=["to the next change", "step by step"])
@pytest.mark.parametrize(("name", "profile", "page"), PAGES)
def test_stepping_shows_what_an_undisturbed_run_does(name: str, profile: str, page: str, one_step: bool) -> None:
    description = load(name, profile)
    undisturbed = [row for row in run_scenario(description, trace=page)["trace"] if row["step"] != "end"]
    stage, _ = open_stage(description, page)
    rows = [asdict(row) for row in all_rows(stage, one_step) if row.step != "end"]
    assert rows == undisturbed
    assert len(rows) > 5
    assert len(stage.follower.ptes) == len(stage.rows)


def test_a_step_is_one_step() -> None:
    stage, _ = open_stage(load("direct-vs-swap", DIRECT), "solver:vectors:0")
    before = stage.follower.boundaries
    stage.step()
    assert stage.follower.boundaries == before + 1


def test_all_who_map_the_page_are_told() -> None:
    stage, built = open_stage(load("fault-race", DIRECT), "worker:ring:0")
    m, worker = built.machine, built.tasks["worker"]
    from backend.emulator.mm import fork

    child = m.run(fork.fork(m, worker, "child"))
    all_rows(stage)
    assert {pid for pid, _, _ in stage.follower.ptes[-1]} == {worker.pid, child.pid}
    assert stage.follower.ptes[-1][0][0] == worker.pid
    assert stage.follower.ptes[-1][0][2] == stage.rows[-1].pte


def test_a_migration_that_is_begun_here_goes_on_step_by_step() -> None:
    stage, _ = open_stage(load("bad-memory"), "db:pool:9")
    assert stage.rows[-1].frame is not None
    assert stage.rows[-1].frame.node == 0
    stage.migrate(1)
    for _ in range(200):
        stage.next_change()
        if stage.note:
            break
    assert stage.note == "migrate_pages has returned 0"
    assert stage.rows[-1].frame is not None
    assert stage.rows[-1].frame.node == 1
    stage.leave()
    assert stage.machine.tracer is None


def test_the_steps_are_explained_with_the_patch_they_belong_to() -> None:
    stage, _ = open_stage(load("direct-vs-swap", DIRECT), "solver:matrix:0")
    rows = all_rows(stage)
    told = {row.step: explain(rows[at - 1] if at else None, row) for at, row in enumerate(rows)}
    assert "remove_from_swap" in told["remap"].text
    assert told["remap"].patch == 3
    assert told["switch"].patch == told["copy"].patch == told["unmap"].patch == 2
    assert "written" in told["add_to_swap"].text


def test_buffers_belong_to_patch_5_and_waiting_to_patch_1() -> None:
    rows = all_rows(open_stage(load("dirty-files", DIRECT), "writer:local:0")[0])
    told = {row.step: explain(rows[at - 1] if at else None, row) for at, row in enumerate(rows)}
    assert told["buffers"].patch == 5
    rows = all_rows(open_stage(load("fault-race", DIRECT), "worker:ring:0")[0])
    waits = [explain(rows[at - 1], row) for at, row in enumerate(rows) if row.waiting]
    assert waits
    assert all("patch 1" in one.text for one in waits)


def test_swapping_out_is_explained_as_what_it_is() -> None:
    rows = all_rows(open_stage(load("direct-vs-swap", SWAP), "solver:matrix:0")[0])
    texts = " ".join(explain(rows[at - 1] if at else None, row).text for at, row in enumerate(rows))
    assert "written to its device first" in texts
    assert "has not moved" in texts
    assert "Read back at a touch" in texts


BETTER = {
    0: lambda direct, swap: direct["pages_arrived"] == direct["pages_asked"] > swap["pages_arrived"],
    1: lambda direct, swap: direct["seconds"] < swap["seconds"] and direct["pages_written"] < swap["pages_written"],
    2: lambda direct, swap: direct["slots_used_after"] < swap["slots_used_after"],
    3: lambda direct, swap: direct["pages_written"] < swap["pages_written"],
    4: lambda direct, swap: direct["groups_kept"] == direct["groups"] > swap["groups_kept"],
}


@pytest.mark.parametrize("number", range(len(BENEFITS)))
def test_each_benefit_of_the_tour_shows_on_its_scenario_and_not_without_its_patch(number: int) -> None:
    benefit = BENEFITS[number]
    direct, without, swap = measure(benefit)
    assert BETTER[number](direct.numbers, swap.numbers)
    assert any(without.numbers[name] != direct.numbers[name] for name in benefit.figures)
    open_stage(benefit.describe(DIRECT), benefit.page)
