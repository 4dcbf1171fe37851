"""The race that patch 1 of Direct Migration V8 closes: a fault that waits for a page's lock while the page migrates.

The entry it followed may be somebody else's by the time it has the lock: the slot was given back and taken again. It
has to look at the page again; without that it maps an old page, and a write is lost."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy

from backend.emulator.abi import syscalls
from backend.emulator.costs import Costs
from backend.emulator.machine import Machine, Patches
from backend.emulator.mm.fault import SegmentationFault, access
from backend.emulator.mm.mm import PTE_SHIFT, PTE_SWAP, Vma
from backend.emulator.mm.zap import zap
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, region


def migrate(m: Machine, task: Task, source: int, target: int) -> simpy.Process:
    old, new = NodeSet([source]).mask(), NodeSet([target]).mask()
    return m.env.process(syscalls.migrate_pages(m, Caller(), task.pid, 65, old, new))


def step_until(m: Machine, condition: Any) -> None:
    for _ in range(10_000):
        if condition():
            return
        m.env.step()
    raise AssertionError("it never came to that")


def the_race(recheck: bool) -> tuple[Machine, Vma, int]:
    """A fault waits for a migrating page; before it runs again the page is dropped, written anew by another thread and
    migrates again, through the same swap slot. Returns what a read gives in the end."""
    m = machine("direct-v8", pages=64, batch=1, swap_pages=1, patches=Patches(swapcache_recheck=recheck))
    task = spawn(m, "t", cpu=0, threads=[2])
    vma = region(m, task, {0: 1})
    first, second = task.threads
    m.costs = Costs(copy=100.0, wake=1e4)
    moving = migrate(m, task, 0, 1)
    old = int(vma.pfns(np.array([0]))[0])
    step_until(m, lambda: vma.pte[0] & PTE_SWAP and m.swap.cache[0] not in (-1, old))
    waiting = m.env.process(access(m, task, first, vma.start, write=False))
    step_until(m, lambda: m.locks.waiting == 1)
    m.env.run(until=moving)
    zap(m, vma, np.array([0], np.int64))
    m.run(access(m, task, second, vma.start, write=True))
    m.costs = Costs(copy=1e6, wake=1.0)
    here = int(m.frames.nid[vma.pfns(np.array([0]))[0]])
    again = migrate(m, task, here, 3)
    step_until(m, lambda: vma.pte[0] & PTE_SWAP)
    assert vma.pte[0] >> PTE_SHIFT == 0, "the same slot names another page now"
    m.env.run(until=waiting | again)
    m.env.run(until=again)
    return m, vma, m.run(access(m, task, second, vma.start, write=False))


def test_a_fault_that_waited_looks_at_the_page_again() -> None:
    m, vma, read = the_race(recheck=True)
    assert read == int(vma.expected[0])
    assert m.counters["swapcache_rechecks"] == 1
    check_at_rest(m)


def test_without_the_recheck_a_write_is_lost() -> None:
    try:
        _, vma, read = the_race(recheck=False)
    except AssertionError:
        return
    assert read != int(vma.expected[0])


def storm(seed: int, recheck: bool, steps: int = 600) -> None:
    """Threads read, write and drop two pages while two migrations go back and forth, two swap slots for all. Raises
    AssertionError when an invariant breaks."""
    chance = random.Random(seed)
    costs = Costs(wake=chance.choice([2e-6, 2e-5, 2e-4]))
    m = machine(
        "direct-v8",
        pages=64,
        batch=1,
        swap_pages=2,
        seed=seed,
        costs=costs,
        patches=Patches(swapcache_recheck=recheck),
    )
    task = spawn(m, "t", cpu=0, threads=[2, 4, 6])
    vma = region(m, task, {0: 1, 1: 1})

    def thread(number: int) -> Generator[simpy.Event, Any, None]:
        for _ in range(steps):
            index = chance.randrange(2)
            try:
                yield from access(m, task, task.threads[number], vma.start + index * 4096, chance.random() < 0.4)
            except SegmentationFault:
                return
            if chance.random() < 0.3:
                zap(m, vma, np.array([index], np.int64))
            yield m.env.timeout(chance.random() * 3e-6)

    def migrator() -> Generator[simpy.Event, Any, None]:
        for _ in range(steps):
            old, new = NodeSet([chance.randrange(4)]), NodeSet([chance.randrange(4)])
            yield from syscalls.migrate_pages(m, Caller(), task.pid, 65, old.mask(), new.mask())
            yield m.env.timeout(chance.random() * 2e-6)

    for number in range(4):
        m.env.process(thread(number))
    for _ in range(2):
        m.env.process(migrator())
    while m.env.peek() != float("inf"):
        m.env.step()
        check(m)
    check_at_rest(m)


@pytest.mark.parametrize("seed", range(3))
def test_the_storm_loses_nothing(seed: int) -> None:
    storm(seed, recheck=True, steps=150)


def survives(seed: int) -> bool:
    try:
        storm(seed, recheck=False, steps=300)
    except AssertionError:
        return False
    return True


def test_the_storm_finds_the_race_when_the_recheck_is_off() -> None:
    """Or else the race cannot happen here, or nothing would notice it."""
    assert not all(survives(seed) for seed in range(60))
