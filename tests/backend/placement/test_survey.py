"""Readings of all processes: gently of large ones and seldom, past one that hangs, the same by every way."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.machine import Machine
from backend.emulator.mm.fault import touch
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.machine.topology import read_topology
from backend.placement.locate import NEVER, Locator, large_from
from backend.placement.placement import LARGE
from backend.placement.readers import Readers
from backend.placement.survey import LOAD_NS, REST_NS, SLOW, STILL_NS, ProcessRow, Surveyor
from backend.process.process import read_process
from tests.backend.placement.test_readers import jumping
from tests.emulator.machines import machine, region
from tests.kernels.around import Around

PAGE = 4096


class Counting(Around):
    """One with a clock of its own, and a file at which readers get stuck."""

    def __init__(self, kernel: EmulatedKernel, source: str = "demo") -> None:
        super().__init__(kernel, source=source)
        self.traits = replace(EmulatedKernel.traits, reading_stalls=source == "live")
        self.time = 0
        self.stuck: threading.Event | None = None
        self.stuck_at = ""

    def clock(self) -> int:
        return self.time

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        if self.stuck is not None and path == self.stuck_at:
            self.seen.append(path)
            self.stuck.wait()
        return super().read(path, offset, size)


def scene() -> Machine:
    """Two processes of user 7: a large one with holes and zero pages, and a small one."""
    m = machine("linux-6", pages=8192)
    large = spawn(m, "large", cpu=0, uid=7)
    region(m, large, {0: 1500, 2: 700}, pages=4000)
    some = region(m, large, {1: 300}, pages=320)
    m.run(touch(m, large, large.leader, some.start, np.array([310, 311]), write=False))
    small = spawn(m, "small", cpu=2, uid=7)
    region(m, small, {1: 10})
    return m


def surveyor(kernel: Any, **how: Any) -> Surveyor:
    return Surveyor(kernel, read_topology(kernel), **how)


def pid_of(m: Machine, name: str) -> int:
    return next(pid for pid, task in m.tasks.items() if task.name == name.encode())


def row_of(rows: list[ProcessRow], name: str) -> ProcessRow:
    return next(row for row in rows if row.process.comm == name)


@pytest.mark.parametrize(
    ("large", "caller", "way"),
    [
        (NEVER, Caller(0, True), "numa_maps"),
        (100, Caller(0, True), "pagemap"),
        (100, Caller(7, False), "sampled"),
    ],
)
def test_the_three_ways_agree(large: int, caller: Caller, way: str) -> None:
    rows = surveyor(EmulatedKernel(scene(), caller), large=large).read()
    assert [row.process.comm for row in rows] == ["large", "small"]
    row = row_of(rows, "large")
    assert row.way == way
    assert row.by_node == {0: 1500 * PAGE, 1: 300 * PAGE, 2: 700 * PAGE}
    assert row.error == {}
    assert row.policy == ("default" if way == "numa_maps" else "?")
    assert row_of(rows, "small").way == "numa_maps"


@pytest.mark.parametrize("caller", [Caller(0, True), Caller(7, False)])
def test_by_mapping_the_ways_agree_too(caller: Caller) -> None:
    m = scene()
    kernel = EmulatedKernel(m, caller)
    shown = Locator(kernel, read_topology(kernel)).show(read_process(kernel, pid_of(m, "large")))
    assert [vma.pages for vma in shown.placement.vmas] == [{0: 1500, 2: 700}, {1: 300}]
    assert shown.way == ("pagemap" if caller.privileged else "sampled")
    assert shown.error == {}


def test_large_begins_where_numa_maps_would_hold_a_process_up() -> None:
    kernel = Counting(EmulatedKernel(scene()), "live")
    assert large_from(kernel) == LARGE == 25_000  # type: ignore[arg-type]
    assert large_from(kernel.inner) == NEVER


def test_large_processes_are_looked_at_less_often_and_say_how_old_they_are() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m))
    survey = surveyor(kernel, large=100)
    large, small = pid_of(m, "large"), pid_of(m, "small")
    looks: list[int] = []
    ages: list[int] = []
    for step in range(5):
        kernel.time = step * REST_NS // 2
        rows = survey.read()
        looks.append(kernel.count(large, "maps") // 2)  # once more for the policy
        ages.append(row_of(rows, "large").age)
        assert row_of(rows, "small").age == 0
    assert looks == [1, 1, 2, 2, 3]
    assert ages == [0, REST_NS // 2, 0, REST_NS // 2, 0]
    assert kernel.count(small, "numa_maps") == 5
    assert kernel.count(large, "numa_maps") == 0
    survey.expire()
    survey.read()
    assert kernel.count(large, "maps") // 2 == 4


def test_what_takes_long_is_looked_at_for_a_twentieth_of_the_time() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m))
    read = kernel.read

    def slow(path: str, offset: int = 0, size: int = -1) -> bytes:
        kernel.time += 150_000_000 if path.endswith("/maps") else 0
        return read(path, offset, size)

    kernel.read = slow  # type: ignore[method-assign]
    survey = surveyor(kernel, large=100)
    survey.read()
    for time, looks in ((2_900_000_000, 1), (6_000_000_000, 2)):
        kernel.time = time
        survey.read()
        assert kernel.count(pid_of(m, "large"), "maps") // 2 == looks


def test_who_everybody_is_is_read_once() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m))
    survey = surveyor(kernel)
    for _ in range(3):
        survey.read()
    for name in ("status", "cmdline"):
        assert kernel.count(pid_of(m, "small"), name) == 1
    assert kernel.count(pid_of(m, "small"), "stat") == 3


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_reading_that_hangs_loses_only_that_process_which_keeps_its_last_value(name: str) -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m), "live")
    readers: Readers[int] = Readers(2, patience=1.0, clock=lambda: 0.0)
    survey = surveyor(kernel, large=100, readers=readers)
    before = row_of(survey.read(), name)
    kernel.stuck = threading.Event()
    kernel.stuck_at = f"/proc/{pid_of(m, name)}/{'numa_maps' if name == 'small' else 'maps'}"
    survey.expire()
    kernel.time = 7_000_000_000
    kernel.seen.clear()
    waiting = threading.Event()
    readers.clock = lambda: 100.0 if waiting.is_set() else 0.0
    others = {"large", "small"} - {name}

    def watch() -> None:
        """Time goes on when the only thing left to wait for is what hangs."""
        (other,) = others
        while kernel.stuck_at not in kernel.seen or not kernel.count(pid_of(m, other), "stat"):
            threading.Event().wait(0.001)
        waiting.set()

    threading.Thread(target=watch, daemon=True).start()
    rows = survey.read()
    row = row_of(rows, name)
    assert row.by_node == before.by_node
    assert row.age == 7_000_000_000
    assert row.way == before.way
    kernel.time = 8_000_000_000
    readers.clock = lambda: 0.0
    again = survey.read()
    assert row_of(again, name).age == 8_000_000_000
    assert row_of(again, others.copy().pop()).way != ""
    kernel.stuck.set()


def test_one_that_hangs_from_the_first_is_there_without_numbers() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m), "live")
    kernel.stuck, kernel.stuck_at = threading.Event(), f"/proc/{pid_of(m, 'large')}/cmdline"
    readers: Readers[int] = Readers(1, patience=1.0, clock=jumping())
    rows = surveyor(kernel, readers=readers).read()
    assert pid_of(m, "large") == min(pid_of(m, "large"), pid_of(m, "small"))
    row = row_of(rows, "large")
    assert (row.by_node, row.way, row.policy, row.process.user) == (None, "", "?", "?")
    assert row_of(rows, "small").by_node == {1: 10 * PAGE}
    kernel.stuck.set()


def test_where_move_pages_or_pagemap_are_not_to_be_had_numa_maps_is() -> None:
    for refused in ({"move_pages": errno.EPERM}, {"move_pages": errno.ENOSYS}, {"pagemap": errno.ENOENT}):
        kernel = Counting(EmulatedKernel(scene(), Caller(7, False)))
        kernel.refused = refused
        row = row_of(surveyor(kernel, large=100).read(), "large")
        assert row.way == "numa_maps"
        assert row.by_node == {0: 1500 * PAGE, 1: 300 * PAGE, 2: 700 * PAGE}


def test_other_users_large_processes_are_not_told() -> None:
    row = row_of(surveyor(EmulatedKernel(scene(), Caller(8, False)), large=100).read(), "large")
    assert (row.by_node, row.way, row.policy) == (None, "", "?")


def test_without_time_stretches_are_looked_at_and_the_error_says_so() -> None:
    m = machine("linux-6", pages=40000)
    task = spawn(m, "large", cpu=0)
    region(m, task, {0: 30000, 3: 10000})
    kernel = Counting(EmulatedKernel(m))
    read = kernel.read

    def slow(path: str, offset: int = 0, size: int = -1) -> bytes:
        kernel.time += 1_000_000_000 if path.endswith("/pagemap") else 0
        return read(path, offset, size)

    kernel.read = slow  # type: ignore[method-assign]
    row = row_of(surveyor(kernel, large=100).read(), "large")
    assert row.way == "sampled"
    assert row.by_node is not None
    for node, pages in {0: 30000, 1: 0, 3: 10000}.items():
        assert abs(row.by_node.get(node, 0) - pages * PAGE) <= row.error[node]


def test_the_policy_known_from_when_it_was_small_stays() -> None:
    m = scene()
    survey = surveyor(EmulatedKernel(m))
    assert row_of(survey.read(), "large").policy == "default"
    survey.large = 100
    row = row_of(survey.read(), "large")
    assert (row.way, row.policy) == ("pagemap", "default")


def test_threads_are_weighed_by_the_time_they_used() -> None:
    m = machine("linux-6", pages=1024)
    task = spawn(m, "many", cpu=0, threads=(2, 2, 2))
    region(m, task, {0: 30, 1: 10})
    survey = surveyor(EmulatedKernel(m))
    row = row_of(survey.read(), "many")
    assert row.runs_on == {0: 0.25, 1: 0.75}
    assert row.local == pytest.approx((30 * 0.25 + 10 * 0.75) / 40)
    assert row.node == 0
    task.threads[0].ticks += 300
    task.threads[1].ticks += 100
    assert row_of(survey.read(), "many").runs_on == {0: 0.75, 1: 0.25}


def test_the_threads_of_all_processes_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.placement.survey.ALL_THREADS", 6)
    m = machine("linux-6", pages=1024)
    for name in ("first", "second", "third"):
        region(m, spawn(m, name, cpu=0, threads=(2, 2, 2)), {0: 1})
    kernel = Counting(EmulatedKernel(m))
    rows = surveyor(kernel).read()
    assert [row.threads_left_out for row in rows] == [0, 2, 3]
    assert sum("/task/" in path for path in kernel.seen) == 6
    assert rows[2].runs_on == {0: 1.0}


def test_what_changes_seldom_is_read_anew_after_a_while_or_when_asked() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m))
    reader, pid = surveyor(kernel), pid_of(m, "small")
    reader.read()
    before = kernel.count(pid, "status")
    for _ in range(2 * SLOW):
        reader.read()
    assert kernel.count(pid, "status") == before + 2
    reader.expire()
    reader.read()
    assert kernel.count(pid, "status") >= before + 3


def test_the_load_is_the_processor_time_between_readings() -> None:
    m = scene()
    kernel = Counting(EmulatedKernel(m))
    reader, task = surveyor(kernel), m.tasks[pid_of(m, "small")]
    assert row_of(reader.read(), "small").load is None
    task.leader.ticks += 30
    kernel.time += 200_000_000
    assert row_of(reader.read(), "small").load == pytest.approx(1.5)
    task.leader.ticks += 5
    kernel.time += LOAD_NS // 2
    assert row_of(reader.read(), "small").load == pytest.approx(1.5)
    kernel.time += LOAD_NS // 2
    assert row_of(reader.read(), "small").load == pytest.approx(0.5)
    kernel.time += 1_000_000_000
    assert row_of(reader.read(), "small").load == 0


def still_scene() -> tuple[Machine, Counting, Surveyor, int]:
    m = scene()
    kernel = Counting(EmulatedKernel(m), "live")
    reader = Surveyor(kernel, read_topology(kernel), readers=Readers(2))  # type: ignore[arg-type]
    reader.read()
    return m, kernel, reader, pid_of(m, "small")


def test_the_memory_of_a_process_that_rests_is_not_read_at_every_refresh() -> None:
    _, kernel, reader, pid = still_scene()
    before = kernel.count(pid, "numa_maps")
    rows = [row_of(reader.read(), "small") for _ in range(2 * SLOW)]
    assert kernel.count(pid, "numa_maps") == before + 2
    assert all(row.by_node == {1: 10 * PAGE} for row in rows)


@pytest.mark.parametrize("what", ["ran", "faulted", "grew", "asked", "time"])
def test_it_is_read_when_it_may_have_changed(what: str) -> None:
    m, kernel, reader, pid = still_scene()
    while (pid + reader._refreshes + 1) % SLOW == 0:
        reader.read()
    task = m.tasks[pid]
    if what == "ran":
        task.leader.ticks += 5
    elif what == "faulted":
        task.min_flt += 1
    elif what == "grew":
        region(m, task, {2: 3})
    elif what == "asked":
        reader.expire()
    else:
        kernel.time += STILL_NS
    before = kernel.count(pid, "numa_maps")
    row = row_of(reader.read(), "small")
    assert kernel.count(pid, "numa_maps") == before + 1
    assert row.by_node == ({1: 10 * PAGE, 2: 3 * PAGE} if what == "grew" else {1: 10 * PAGE})
