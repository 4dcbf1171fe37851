"""Jobs about parts of a process: what is hot, what is cold, the hottest first, no more than was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.errors import NotSupported, UsageError
from backend.heat.choosing import Chosen, HeatWish
from backend.heat.kdamond import ROOT
from backend.job import heat_parts
from backend.job.events import Event, Progressed
from backend.job.job import Job
from backend.job.options import Options
from backend.job.planning import plan
from backend.job.request import MoveRequest
from backend.job.undo import plan_undo
from backend.journal.past_jobs import find_job
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.plan.plan import Plan
from backend.process.process import Process
from backend.selection.selection import Selection
from tests.backend.heat.machines import WARM, worker

MIB = 1 << 20


def request(process: Process, wish: HeatWish, **options: Any) -> MoveRequest:
    return MoveRequest(Selection((process.pid,)), "0", "1", heat=wish, **options)


def run(kernel: EmulatedKernel, made: Plan, folder: Path) -> Any:
    return Job(kernel, made, Options(journal_dir=folder)).run(lambda event: None)


def nodes(kernel: EmulatedKernel, process: Process) -> dict[int, int]:
    return read_placement(kernel, process.pid).bytes_by_node


def test_what_is_hot_moves_and_nothing_else_and_comes_back(tmp_path: Path) -> None:
    kernel, process = worker("hot: 25%")
    before = nodes(kernel, process)
    made = plan(kernel, request(process, HeatWish("hot")))
    assert made.bytes == pytest.approx(16 * MIB, rel=0.15)
    assert made.warnings[0].code == "heat"
    outcome = run(kernel, made, tmp_path)
    assert outcome.moved == made.bytes
    assert outcome.complete
    after = nodes(kernel, process)
    assert before[0] - after[0] == made.bytes
    # What is hot now is on node 1.
    assert plan(kernel, request(process, HeatWish("hot"))).bytes < MIB
    back = plan_undo(kernel, find_job(tmp_path, None))
    assert back.bytes == made.bytes
    run(kernel, back, tmp_path)
    assert nodes(kernel, process) == before


def test_what_is_cold(tmp_path: Path) -> None:
    kernel, process = worker("hot: 25%")
    made = plan(kernel, request(process, HeatWish("cold")))
    # Half of 64 MiB is on node 0, half of that is hot.
    assert made.bytes == pytest.approx(16 * MIB, rel=0.15)
    assert run(kernel, made, tmp_path).moved == made.bytes


@pytest.mark.parametrize("most", [1, 5 * MIB + 4096, 8 * MIB])
def test_no_more_than_the_limit(most: int, tmp_path: Path) -> None:
    kernel, process = worker("hot: 25%")
    made = plan(kernel, request(process, HeatWish("hot", most=most)))
    assert made.bytes <= most
    assert made.bytes >= most * 0.4 - 4096
    assert run(kernel, made, tmp_path).moved == made.bytes


@pytest.mark.parametrize("wish", [HeatWish("hot", most=24 * MIB), HeatWish("hot", rate=120.0)])
def test_the_hottest_first(wish: HeatWish) -> None:
    """Two regions, one used much more often than the other: a limit takes the first, as does a rate."""
    kernel, process = worker("sample: 4096", more=WARM)
    everything = plan(kernel, request(process, HeatWish("hot")))
    assert everything.bytes == pytest.approx(48 * MIB, rel=0.1)
    only = plan(kernel, request(process, wish)).processes[0].only
    maps = [line.split()[0] for line in kernel.read(f"/proc/{process.pid}/maps").decode().splitlines()]
    bounds = sorted(tuple(int(edge, 16) for edge in one.split("-")) for one in maps)
    data = next((low, high) for low, high in bounds if high - low == 64 * MIB)
    assert only
    inside = sum(end - start for start, end in only if data[0] <= start < end <= data[1])
    assert inside > 0.9 * sum(end - start for start, end in only)


def test_how_often_needs_damon() -> None:
    kernel, process = worker("hot: 25%")
    with pytest.raises(NotSupported, match="only DAMON tells"):
        plan(kernel, request(process, HeatWish("hot", rate=1.0, way="referenced")))


def test_whole_mappings_without_damon(tmp_path: Path) -> None:
    kernel, process = worker("hot: 75%")
    made = plan(kernel, request(process, HeatWish("hot", way="referenced")))
    assert made.bytes == 32 * MIB
    assert "whole mappings" in made.warnings[0].text
    assert run(kernel, made, tmp_path).moved == made.bytes


def test_what_does_not_go_together() -> None:
    kernel, process = worker("hot: 25%")
    with pytest.raises(UsageError, match="not a part"):
        plan(kernel, request(process, HeatWish("hot"), confine=True))
    with pytest.raises(NotSupported, match="a part of one"):
        plan(kernel, request(process, HeatWish("hot"), method="migrate_pages"))
    assert kernel.read(f"{ROOT}/nr_kdamonds") == b"0\n"


def test_the_same_stretches_again() -> None:
    """What a saved plan names is not watched again."""
    kernel, process = worker("hot: 25%")
    made = plan(kernel, request(process, HeatWish("hot")))
    only = made.processes[0].only
    assert only is not None
    again = plan(kernel, MoveRequest(Selection((process.pid,)), "0", "1", only={process.pid: only}))
    assert (again.bytes, again.processes[0].only) == (made.bytes, only)
    assert plan(kernel, MoveRequest(Selection((process.pid,)), "0", "1", only={})).bytes == 0


def test_progress_is_that_of_the_parts(tmp_path: Path) -> None:
    kernel, process = worker("hot: 25%")
    made = plan(kernel, request(process, HeatWish("hot")))
    totals: set[int] = set()

    def see(event: Event) -> None:
        if isinstance(event, Progressed):
            totals.add(event.progress.total)

    Job(kernel, made, Options(journal_dir=tmp_path)).run(see)
    assert totals == {made.bytes}


def test_a_limit_never_cuts_a_huge_page(tmp_path: Path) -> None:
    """Half a huge page would move the whole one, and say half."""
    kernel, process = worker("hot: 100%", size="64MiB, huge: on")
    assert plan(kernel, request(process, HeatWish("hot", most=MIB))).bytes == 0
    before = nodes(kernel, process)
    made = plan(kernel, request(process, HeatWish("hot", most=5 * MIB)))
    assert made.bytes == 4 * MIB
    outcome = run(kernel, made, tmp_path)
    assert outcome.moved == before[0] - nodes(kernel, process)[0] == 4 * MIB


def test_a_limit_is_spent_within_the_mapping(tmp_path: Path) -> None:
    kernel, process = worker("sample: 4096", more=WARM)
    maps = [line.split()[0].split("-") for line in kernel.read(f"/proc/{process.pid}/maps").decode().splitlines()]
    warm = next(start for start, end in maps if int(end, 16) - int(start, 16) == 16 * MIB)
    made = plan(kernel, request(process, HeatWish("hot", most=8 * MIB), mapping=warm))
    assert 6 * MIB <= made.bytes <= 8 * MIB


def test_a_limit_in_sparse_memory_takes_few_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it lies at the beginning of the stretch."""
    counts = 0

    def count(kernel: object, frames: object, chosen: Sequence[Chosen], nodes: object) -> list[int]:
        nonlocal counts
        counts += len(chosen)
        return [min(one.end, 1 << 30) - one.start for one in chosen]

    monkeypatch.setattr(heat_parts, "_count", count)
    huge = 2 * MIB
    chosen = [Chosen(1, 0, 1 << 40)]
    found = heat_parts._first(None, None, chosen, (1 << 30) - 1, NodeSet([0]), huge, None)  # type: ignore[arg-type]
    assert found == [Chosen(1, 0, (1 << 30) - huge)]
    assert counts < 50
