"""The automatic mover on emulated machines: faster where memory is misplaced, never slower, nothing moved to and
fro."""

from __future__ import annotations

import errno
import tempfile
import threading
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backend.advice.advice import Advice, Proposal
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.mm.fork import fork
from backend.emulator.scenario.open import open_scenario
from backend.emulator.tasks.life import do_exit
from backend.emulator.tasks.scheduler import schedule
from backend.mover.mover import Decision, Mover
from backend.mover.policy import Policy, parse_policy
from backend.process.process import Process
from tests.backend.mover.movers import POLICY, Numad, OurMover, Run, nothing, run
from tests.kernels.around import Around

SECOND = 1_000_000_000
FASTER = {"default": 1.15, "huge-pages": 1.5, "node-removal": 1.5}
CALM = ["scheduler-moves", "tiers"]


@cache
def by_the_mover(name: str) -> Run:
    """One run for all tests that look at it."""
    with tempfile.TemporaryDirectory() as folder:
        return run(name, OurMover(Path(folder)))


@pytest.mark.parametrize("name", [*FASTER, *CALM])
def test_it_brings_throughput_and_no_process_goes_to_and_fro(name: str) -> None:
    without, ours = run(name, nothing), by_the_mover(name)
    assert ours.work >= without.work * FASTER.get(name, 0.999)
    assert max(ours.moves.values(), default=0) <= 1
    if name in CALM:
        assert ours.pages == without.pages


@pytest.mark.parametrize("name", ["default", "scheduler-moves", "tiers"])
def test_it_moves_less_than_numad_would_for_at_least_as_much(name: str) -> None:
    ours, numad = by_the_mover(name), run(name, Numad())
    assert ours.pages < numad.pages
    assert ours.work >= numad.work * 0.99


def rounds(kernel: EmulatedKernel, mover: Mover, count: int, seconds: float = 2) -> list[Decision]:
    out: list[Decision] = []
    for _ in range(count):
        out += mover.round(0.0)
        kernel.pause(int(seconds * SECOND))
    return out


def test_dry_it_changes_nothing_and_says_each_once(tmp_path: Path) -> None:
    kernel, other = open_scenario(), open_scenario()
    decisions = rounds(kernel, Mover(kernel, parse_policy(POLICY), journal_dir=tmp_path), 14)
    other.pause(14 * 2 * SECOND)
    for pid in ("6", "11", "19"):
        assert kernel.read(f"/proc/{pid}/numa_maps") == other.read(f"/proc/{pid}/numa_maps")
    would = [one.process.pid for one in decisions if one.action == "would-move"]
    assert len(would) == len(set(would)) > 2
    assert not any(one.action == "moved" for one in decisions)
    assert not list(tmp_path.iterdir())


def test_who_hops_to_and_fro_is_moved_ever_more_seldom(tmp_path: Path) -> None:
    """A process that stays for half a minute, then goes elsewhere: worth a move each time if one looked at the moment
    only."""
    kernel = open_scenario("huge-pages")
    machine = kernel.machine
    task = max(machine.tasks.values(), key=lambda one: sum(vma.pages for vma in one.mm.vmas) if one.mm else 0)
    policy = parse_policy(POLICY.replace("30s", "20s"))
    mover = Mover(kernel, policy, dry=False, journal_dir=tmp_path)
    moved: list[float] = []
    for turn in range(300):
        if turn % 15 == 0:
            node = (turn // 15) % 2
            schedule(machine, task, next(iter(machine.nodes[node].cpus)))
        moved += [kernel.clock() / 1e9 for one in mover.round(0.0) if one.action == "moved"]
        kernel.pause(2 * SECOND)
    assert 1 <= len(moved) <= 8
    gaps = [later - before for before, later in pairwise(moved)]
    assert all(later >= policy.cooldown for later in gaps)


def test_rules_say_whom(tmp_path: Path) -> None:
    kernel = open_scenario()
    policy = parse_policy(POLICY[:-1] + ", allow: [{user: oracle}, {command: 'java*'}], deny: [{command: '*spark*'}]}")
    decisions = rounds(kernel, Mover(kernel, policy), 14)
    commands = {one.process.command for one in decisions}
    assert commands
    for one in decisions:
        assert one.process.user == "oracle" or one.process.command.startswith("java")
        assert "spark" not in one.process.command


def held(policy: str, wall: float = 0.0, count: int = 10) -> set[str]:
    """The reasons for which somebody is held back, once nothing else keeps them."""
    kernel = open_scenario()
    mover = Mover(kernel, parse_policy(policy))
    out: set[str] = set()
    for _ in range(count):
        out |= {one.code for one in mover.round(wall) if one.action == "held"}
        kernel.pause(2 * SECOND)
    return out


def test_limits_hold(tmp_path: Path) -> None:
    base = POLICY[:-1]
    assert "hour" in held(base + ", max_per_hour: 64M}")
    assert "round" in held(base + ", max_per_round: 1}")
    assert "readings" in held(base.replace("readings: 2", "readings: 5") + "}")
    assert held(base + ", quiet: ['00:00-23:59']}", wall=12 * 3600) == {"quiet"}
    assert not held(base + ", min_gain: 900}")


def test_advice_that_is_not_sure_is_left_alone() -> None:
    kernel = open_scenario()
    mover = Mover(kernel, parse_policy(POLICY))
    one = next(one for one in rounds(kernel, mover, 4) if one.action == "would-move")
    advice = Advice(one.process, {}, {}, None, proposal=one.proposal)
    unsure = replace(one.proposal, confidence="low")
    assert mover._why_not(advice, unsure, 0)[0] == "confidence"
    assert mover._why_not(advice, replace(unsure, confidence="medium"), 0)[0] != "confidence"


def test_pressure_holds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.mover.mover.memory_pressure", lambda _: 0.5)
    assert held(POLICY[:-1] + ", stop: {pressure: 40%}}") == {"pressure"}
    monkeypatch.setattr("backend.mover.mover.memory_pressure", lambda _: 0.05)
    assert "pressure" not in held(POLICY[:-1] + ", stop: {pressure: 40%}}")


def test_failures_in_a_row_stop_it_until_the_policy_is_loaded_again(tmp_path: Path) -> None:
    refused = {"move_pages": errno.EPERM, "migrate_pages": errno.EPERM}
    kernel: Any = Around(EmulatedKernel(open_scenario().machine), refused)
    policy = parse_policy(POLICY[:-1] + ", stop: {errors: 2}}")
    mover = Mover(kernel, policy, dry=False, journal_dir=tmp_path)
    decisions = rounds(kernel, mover, 10)
    assert [one.action for one in decisions if one.action != "held"] == ["failed", "failed"]
    assert "2 moves in a row failed" in mover.stopped
    assert {one.code for one in mover.round(0.0)} <= {"stopped"}
    mover.load(policy)
    assert not mover.stopped


@pytest.mark.parametrize("what", ["shares its pages", "ends"])
def test_a_process_stops_nobody_elses_moves(tmp_path: Path, what: str) -> None:
    """A fork, an exit: whatever it does, as often as it likes."""
    kernel = open_scenario()
    done: set[int] = set()

    def meddle(process: Process, _: Proposal) -> None:
        if len(done) < 3:
            done.add(process.pid)
            task = kernel.machine.tasks[process.pid]
            if what == "ends":
                do_exit(kernel.machine, task)
            else:
                kernel.machine.run(fork(kernel.machine, task))

    policy = parse_policy(POLICY[:-1] + ", confidence: low, min_gain: 1.0, stop: {errors: 2}}")
    mover = Mover(kernel, policy, dry=False, journal_dir=tmp_path, announce=meddle)
    decisions = rounds(kernel, mover, 14)
    assert not mover.stopped
    failed = {one.process.pid for one in decisions if one.action == "failed"}
    moved = {one.process.pid for one in decisions if one.action == "moved"}
    assert len(failed & done) >= 2
    assert moved - done


def test_a_cancel_ends_a_move_in_the_middle_and_nothing_is_lost(tmp_path: Path) -> None:
    from backend.journal.past_jobs import list_jobs

    cancel = threading.Event()

    class Cancelling(EmulatedKernel):
        def move_pages(self, *arguments: object, **more: object) -> int:  # type: ignore[override]
            cancel.set()
            return super().move_pages(*arguments, **more)  # type: ignore[arg-type]

    kernel = Cancelling(open_scenario().machine)
    mover = Mover(kernel, parse_policy(POLICY), dry=False, cancel=cancel, journal_dir=tmp_path)
    decisions = rounds(kernel, mover, 8)
    (only,) = [one for one in decisions if one.action != "held"]
    assert only.outcome is not None
    assert only.outcome.cancelled
    (job,), problems = list_jobs(tmp_path)
    assert not problems
    assert job.state == "cancelled"


def test_the_usual_policy_is_slow_and_careful() -> None:
    usual = parse_policy("{}")
    assert usual == Policy()
    assert usual.readings > 1
    assert usual.cooldown >= 60
    assert usual.max_rate
    assert usual.confidence != "low"
