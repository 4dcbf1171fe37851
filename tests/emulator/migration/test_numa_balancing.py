"""NUMA balancing: memory that follows its task, and pages that move_pages does not see meanwhile."""

# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

from __future__ import annotations

import errno
import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.doctor import examine
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.migration.numa_balancing import SYSCTL, NumaBalancing, change_prot_numa
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mlock import mlock
from backend.emulator.mm.mm import PTE_PROTNONE, Vma
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.open import open_scenario
from backend.emulator.scenario.run import build, run_scenario
from backend.emulator.scenario.shipped import load
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.scheduler import schedule
from backend.emulator.tasks.task import Task
from backend.errors import ParseError
from backend.kernel import Mode
from backend.nodeset import NodeSet
from backend.placement.numa_maps import parse_numa_maps
from backend.process.process import read_process
from numatui.cli.app import run
from tests.backend.job.running import Told, plan_for, run_job
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096


class Balanced:
    """A task whose leader runs on node 3, its pages on `layout`; the scan is run by hand."""

    def __init__(
        self,
        layout: dict[int, int] | None = None,
        cpu: int = 6,
        threads: tuple[int, ...] = (),
        **options: Any,
    ) -> None:
        self.m: Machine = machine("linux-6", **options)
        self.m.balancing.mode = 1
        self.task: Task = spawn(self.m, "t", cpu=cpu, threads=threads)
        self.vma: Vma = region(self.m, self.task, layout or {0: 8})
        self.m.run(self.m.balancing.tick(self.task, self.task.leader))

    def scan(self) -> int:
        """The next window. Returns how many pages are marked then."""
        self.m.advance(61.0)
        self.m.run(self.m.balancing.tick(self.task, self.task.leader))
        return self.marked()

    def marked(self) -> int:
        return sum(int(np.count_nonzero(vma.pte & PTE_PROTNONE)) for vma in self.task.mm.vmas)

    def pass_over(self, times: int) -> None:
        """So many passes without a fault: young tasks are treated otherwise."""
        for _ in range(times):
            self.scan()

    def touch(self, count: int = 8, thread: int = 0, write: bool = True) -> list[int]:
        index = np.arange(count, dtype=np.int64)
        self.m.run(touch(self.m, self.task, self.task.threads[thread], self.vma.start, index, write=write))
        return nodes_of(self.m, self.vma)

    def counter(self, name: str) -> int:
        return self.m.counters.get(name, 0)


def test_the_first_window_is_marked_a_second_after_the_first_tick_and_only_while_it_is_on() -> None:
    one = Balanced()
    assert one.marked() == 0
    one.m.advance(1.1)
    one.m.run(one.m.balancing.tick(one.task, one.task.leader))
    assert one.marked() == one.counter("numa_pte_updates") == 8
    other = Balanced()
    other.m.balancing.mode = 0
    assert other.scan() == 0


def test_marked_pages_keep_their_counts_and_their_next_access_moves_them() -> None:
    one = Balanced()
    kernel = EmulatedKernel(one.m)
    before = kernel.read(f"/proc/{one.task.pid}/numa_maps")
    assert one.scan() == 8
    assert kernel.read(f"/proc/{one.task.pid}/numa_maps") == before
    check_at_rest(one.m)
    for index in range(8):
        address = one.vma.start + index * PAGE
        assert one.m.run(access(one.m, one.task, one.task.leader, address, write=False)) == one.vma.expected[index]
    assert nodes_of(one.m, one.vma) == [3] * 8
    assert one.marked() == 0
    assert (one.counter("numa_hint_faults"), one.counter("numa_pages_migrated")) == (8, 8)
    assert one.counter("numa_hint_faults_local") == 0
    check_at_rest(one.m)


def test_a_batch_of_accesses_takes_the_hinting_faults_too() -> None:
    one = Balanced()
    one.scan()
    assert one.touch(5) == [3] * 5 + [0] * 3
    assert one.marked() == 3
    check_at_rest(one.m)


def test_a_task_with_one_thread_is_not_bothered_about_pages_that_are_near() -> None:
    assert Balanced({0: 4, 3: 4}).scan() == 4
    assert Balanced({0: 4, 3: 4}, threads=(7,)).scan() == 8


def test_local_faults_are_counted_and_move_nothing() -> None:
    one = Balanced({3: 8}, threads=(7,))
    one.scan()
    assert one.touch() == [3] * 8
    assert (one.counter("numa_hint_faults_local"), one.counter("numa_pages_migrated")) == (8, 0)


def test_at_first_a_private_page_follows_at_once_wherever_its_task_goes() -> None:
    one = Balanced({0: 8})
    one.scan()
    assert one.touch() == [3] * 8
    schedule(one.m, one.task, 2)
    one.scan()
    assert one.touch() == [1] * 8


def test_later_a_page_moves_only_when_the_fault_before_came_from_there_too() -> None:
    one = Balanced({0: 8})
    one.scan()
    one.touch()
    one.pass_over(6)
    schedule(one.m, one.task, 2)
    assert one.scan() == 8
    assert one.touch() == [3] * 8
    assert one.scan() == 8
    assert one.touch() == [1] * 8
    check_at_rest(one.m)


def test_threads_of_two_other_nodes_in_turn_do_not_drag_a_page_to_and_fro() -> None:
    one = Balanced({0: 8}, threads=(2, 4))
    one.scan()
    one.touch(thread=0)
    one.pass_over(6)
    for thread in (1, 2, 1, 2):
        assert one.scan() == 8
        assert one.touch(thread=thread) == [3] * 8
    one.scan()
    assert one.touch(thread=2) == [2] * 8, "twice in a row from the same node"


@pytest.mark.parametrize("how", ["vma", "task"])
def test_where_a_policy_says_where_pages_belong_nothing_is_marked(how: str) -> None:
    one = Balanced()
    policy = Mempolicy(Mode.BIND, NodeSet([0]))
    if how == "vma":
        one.vma.policy = policy
    else:
        one.task.policy = policy
    assert one.scan() == 0


def test_a_policy_that_is_set_when_pages_are_marked_already_keeps_them() -> None:
    one = Balanced()
    one.scan()
    one.vma.policy = Mempolicy(Mode.PREFERRED, NodeSet([0]))
    assert one.touch() == [0] * 8
    assert one.marked() == 0


def test_shared_and_pinned_pages_are_not_marked() -> None:
    one = Balanced()
    one.m.locks.get_page(int(one.vma.pfns(np.array([2]))[0]))
    assert one.scan() == 7
    other = Balanced()
    other.m.run(fork(other.m, other.task))
    assert other.scan() == 0


def test_a_page_that_is_shared_by_the_time_of_its_fault_stays() -> None:
    one = Balanced()
    one.scan()
    child = one.m.run(fork(one.m, one.task))
    assert np.count_nonzero(child.mm.vmas[0].pte & PTE_PROTNONE) == 8
    assert one.touch(write=False) == [0] * 8
    assert one.marked() == 0
    check_at_rest(one.m)


def test_a_page_that_is_held_at_the_time_of_its_fault_stays_and_slows_the_scan() -> None:
    one = Balanced()
    one.scan()
    one.m.locks.get_page(int(one.vma.pfns(np.array([0]))[0]))
    assert one.touch() == [0] + [3] * 7
    scan = NumaBalancing.of(one.m).scan_of(one.vma.mm)
    period = scan.period
    one.scan()
    assert scan.period == period * 2


def test_a_page_that_is_locked_at_the_time_of_its_fault_stays_and_nobody_waits_for_it() -> None:
    one = Balanced()
    one.scan()
    one.m.locks.trylock(one.vma.pfns(np.array([0])))
    assert one.touch() == [0] + [3] * 7


def test_nothing_is_marked_while_somebody_changes_the_address_space() -> None:
    one = Balanced()
    one.vma.mm.lock.writing = True
    assert one.scan() == 0
    one.vma.mm.lock.writing = False
    assert one.scan() == 8


def test_a_frame_that_is_given_back_forgets_who_used_it() -> None:
    one = Balanced()
    one.scan()
    one.touch()
    do_exit(one.m, one.task)
    check_at_rest(one.m)


def test_locked_memory_follows_too() -> None:
    one = Balanced()
    one.m.run(mlock(one.m, one.task, one.vma.start, 8))
    one.scan()
    assert one.touch() == [3] * 8
    check_at_rest(one.m)


def test_a_node_that_is_nearly_full_takes_nothing() -> None:
    one = Balanced()
    hog = spawn(one.m, "hog", cpu=0)
    zone = one.m.frames.zones[3]
    region(one.m, hog, {3: zone.free - zone.wmark_high - 3})
    one.scan()
    assert sorted(one.touch()) == [0] * 6 + [3] * 2, "down to the high watermark, no further"


@pytest.mark.parametrize(("local", "period"), [(10, 26.0), (7, 22.0), (6, 18.0), (0, 6.0)])
def test_the_pace_follows_the_share_of_local_faults(local: int, period: float) -> None:
    one = Balanced()
    scan = NumaBalancing.of(one.m).scan_of(one.vma.mm)
    scan.period, scan.local, scan.remote = 20.0, local, 10 - local
    one.scan()
    assert scan.period == pytest.approx(period)


def test_a_large_address_space_is_gone_through_window_by_window() -> None:
    one = Balanced({0: 8}, pages=300_000)
    big = region(one.m, one.task, {1: 70_000, 2: 70_000})
    scan = NumaBalancing.of(one.m).scan_of(one.vma.mm)
    one.scan()
    assert 65_536 <= one.marked() < 66_600
    assert scan.offset > 0
    assert scan.offset % (2 << 20) == 0, "up to the end of a huge page"
    assert (big.pte[scan.offset // PAGE - big.start // PAGE :] & PTE_PROTNONE == 0).all()
    one.scan()
    one.scan()
    assert one.marked() == 140_008
    assert (scan.passes, scan.offset) == (1, 0)


def test_writing_the_sysctl_switches_it() -> None:
    m = machine("linux-6")
    kernel = EmulatedKernel(m)
    assert kernel.read(SYSCTL) == b"0\n"
    kernel.write(SYSCTL, b"1\n")
    assert kernel.read(SYSCTL) == b"1\n"
    assert [check.state for check in examine(kernel) if check.name == "balancing"] == ["note"]
    kernel.write(SYSCTL, b"0")
    assert not m.balancing.mode
    for caller, data, number in ((Caller(1000, False), b"1", errno.EACCES), (Caller(), b"on", errno.EINVAL)):
        with pytest.raises(OSError) as caught:
            EmulatedKernel(m, caller).write(SYSCTL, data)
        assert caught.value.errno == number
    with pytest.raises(OSError):
        EmulatedKernel(machine("direct-v8")).write(SYSCTL, b"1")


def test_older_kernels_cannot_be_described_with_it() -> None:
    text = "machine: {profile: direct-v8, numa_balancing: true, nodes: [{id: 0, memory: 8MiB, cpus: 0}]}"
    with pytest.raises(ParseError, match="no NUMA balancing"):
        parse_description(text)


def hidden_job(folder: Path, **how: Any) -> tuple[Balanced, Told]:
    one = Balanced({0: 6, 1: 4})
    kernel = EmulatedKernel(one.m)
    assert one.scan() == 10
    plan = plan_for(kernel, read_process(kernel, one.task.pid), [0], [2], **how)
    assert "balancing" in [warning.code for warning in plan.warnings]
    return one, run_job(kernel, plan, folder)


def test_a_move_that_meets_hidden_pages_falls_back_to_migrate_pages(tmp_path: Path) -> None:
    one, outcome = hidden_job(tmp_path, move_all=True)
    assert outcome.complete
    assert outcome.method == "move_pages+migrate_pages"
    assert outcome.moved == 6 * PAGE
    assert nodes_of(one.m, one.vma) == [2] * 6 + [1] * 4
    check_at_rest(one.m)


def test_move_pages_alone_reports_them_as_hidden(tmp_path: Path) -> None:
    one, outcome = hidden_job(tmp_path, method="move_pages")
    assert outcome.left == {"hidden": 6 * PAGE}
    assert nodes_of(one.m, one.vma) == [0] * 6 + [1] * 4


def test_migration_makes_marked_pages_accessible_and_visible_again() -> None:
    one = Balanced()
    one.scan()
    kernel = EmulatedKernel(one.m)
    pages, status = array("Q", [one.vma.start]), array("i", [-1])
    kernel.move_pages(one.task.pid, pages, None, status, 0)
    assert status[0] == -errno.ENOENT
    kernel.migrate_pages(one.task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask())
    assert one.marked() == 0
    kernel.move_pages(one.task.pid, pages, None, status, 0)
    assert status[0] == 1


def test_marking_a_range_leaves_out_what_is_not_there() -> None:
    one = Balanced({0: 4})
    more = region(one.m, one.task, {1: 2}, pages=6)
    assert len(change_prot_numa(one.m, more, np.arange(6, dtype=np.int64), None)) == 2
    assert len(change_prot_numa(one.m, more, np.arange(6, dtype=np.int64), None)) == 0


class TestTheShippedScenario:
    def layouts(self, *times: float) -> list[dict[str, dict[int, int]]]:
        built = build(load("numa-balancing"))
        m, task = built.machine, built.tasks["oltp"]
        out = []
        for time in times:
            m.advance(time - m.now)
            lines = parse_numa_maps(EmulatedKernel(m).read(f"/proc/{task.pid}/numa_maps"))
            names = {region.start: name for name, region in built.regions["oltp"].items()}
            out.append({names[vma.start]: vma.pages for vma in lines})
        check = [outcome for outcome in built.outcomes if outcome["errno"]]
        assert not check
        return out

    def test_memory_follows_the_task_and_a_move_by_hand_is_undone(self) -> None:
        start, moved_task, followed, by_hand, undone, bound = self.layouts(1.9, 2.0, 7.9, 8.05, 15.9, 21)
        assert start["hot"] == moved_task["hot"] == {0: 1024}
        assert followed["hot"] == {3: 1024}
        assert by_hand["hot"].get(0, 0) > 900
        assert undone["hot"] == {3: 1024}
        assert bound["hot"] == {1: 1024}
        for layout in (followed, undone, bound):
            assert layout["cold"] == {0: 512}
            assert layout["bound"] == {0: 256}

    def test_the_command_falls_back_to_migrate_pages_and_says_that_balancing_is_on(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def while_pages_are_marked(name: str) -> EmulatedKernel:
            kernel = open_scenario(name)
            mm = kernel.machine.tasks[3].mm
            while not any((vma.pte & PTE_PROTNONE).any() for vma in mm.vmas):
                kernel.machine.env.step()
            return kernel

        monkeypatch.setattr("backend.emulator.scenario.open.open_scenario", while_pages_are_marked)
        arguments = ["migrate", "3", "--from", "0", "--to", "2", "--yes", "--json", "--all"]
        assert run(["--demo", "numa-balancing", *arguments]) == 0
        document = json.loads(capsys.readouterr().out)
        assert "balancing" in [warning["code"] for warning in document["plan"]["warnings"]]
        (outcome,) = document["outcomes"]
        assert outcome["method"] == "move_pages+migrate_pages"
        assert outcome["before"]["0"] == 7 << 20
        assert set(outcome["after"]) <= {"2", "3"}, "3: what balancing itself moved meanwhile"
        assert outcome["after"]["2"] > 6 << 20
        assert set(outcome["left"]) == {"gone"}
        assert outcome["moved"] + outcome["left"]["gone"] == 7 << 20

    def test_it_is_the_same_every_time(self) -> None:
        description = load("numa-balancing")
        assert run_scenario(description) == run_scenario(description)
