"""Per-CPU caches of new pages: out of everybody's reach until they are drained, and who drains them."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames.frames import MemMap
from backend.emulator.frames.page import PG, State
from backend.emulator.frames.pagevec import LruPagevecs
from backend.emulator.frames.zone import Lru
from backend.emulator.machine import Machine
from backend.emulator.migration.hotplug import offline
from backend.emulator.migration.isolate import isolate
from backend.emulator.migration.numa_balancing import change_prot_numa
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mm import Vma
from backend.emulator.mm.mmap import munmap
from backend.emulator.mm.zap import zap
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import build
from backend.emulator.storage.file_io import read
from backend.emulator.storage.page_cache import truncate
from backend.emulator.storage.reclaim import Reclaimer
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from tests.emulator.files import file
from tests.emulator.invariants import check_at_rest, check_drained
from tests.emulator.machines import machine, nodes_of, region
from tests.emulator.rig import Me

SIZES = {"linux-6": 15, "direct-v8": 14, "swap-2.6.15": 14}


def started(profile: str = "linux-6", count: int = 3, **options: Any) -> tuple[Machine, Task, Vma]:
    """A task on CPU 0, and on CPU 2 its second thread, that has just written to `count` pages of 100."""
    m = machine(profile, **options)
    task = spawn(m, "t", cpu=0, threads=[2])
    vma = region(m, task, {}, pages=100)
    write(m, task, vma, 0, count)
    return m, task, vma


def write(m: Machine, task: Task, vma: Vma, first: int, count: int, thread: int = 0) -> None:
    index = np.arange(first, first + count, dtype=np.int64)
    m.run(touch(m, task, task.threads[thread], vma.start, index, write=True))


def pages(vma: Vma, count: int) -> Any:
    return vma.pfns(np.arange(count, dtype=np.int64))


def on_lru(m: Machine) -> int:
    return sum(int(zone.lru.sum()) for zone in m.frames.zones.values())


def in_use(m: Machine) -> int:
    return int(np.count_nonzero(m.frames.state == State.IN_USE))


@pytest.mark.parametrize("profile", SIZES)
def test_a_page_just_touched_cannot_be_isolated_until_its_cpu_is_drained(profile: str) -> None:
    m, _, vma = started(profile)
    pfns = pages(vma, 3)
    assert m.frames.refcount[pfns].tolist() == [2, 2, 2]
    assert not (m.frames.flags[pfns] & PG.LRU).any()
    assert not len(isolate(m, pfns, None, move_all=True))
    m.pagevecs.lru_add_drain(2)
    assert on_lru(m) == 0, "another CPU's are left alone"
    m.pagevecs.lru_add_drain(0)
    assert m.frames.refcount[pfns].tolist() == [1, 1, 1]
    assert isolate(m, pfns, None, move_all=True).tolist() == pfns.tolist()


@pytest.mark.parametrize(("profile", "size"), SIZES.items())
def test_a_full_pagevec_goes_to_the_lru(profile: str, size: int) -> None:
    m, task, vma = started(profile, count=0)
    for index in range(size):
        assert on_lru(m) == 0
        m.run(access(m, task, task.leader, vma.start + index * 4096, write=True))
    assert on_lru(m) == size
    assert not len(m.pagevecs.cached())
    check_at_rest(m)


@pytest.mark.parametrize(("profile", "size"), SIZES.items())
def test_of_a_batch_only_the_remainder_waits(profile: str, size: int) -> None:
    m, task, vma = started(profile, count=5)
    write(m, task, vma, 5, 72)
    assert m.pagevecs.cached().tolist() == pages(vma, 77)[-(77 % size) :].tolist()
    assert on_lru(m) == 77 - 77 % size
    assert m.frames.refcount[pages(vma, 77)].sum() == 77 + 77 % size
    check_at_rest(m)


def test_new_anonymous_pages_of_2_6_are_active_and_have_a_pagevec_of_their_own() -> None:
    m, task, vma = started("direct-v8")
    space = file(m, "ext3", 5)
    m.run(read(m, task, task.leader, space, np.arange(5, dtype=np.int64)))
    assert len(m.pagevecs.cached()) == 8
    assert vma.nr_active == 3
    m.pagevecs.flush()
    lru = m.frames.zones[0].lru
    assert (lru[Lru.ACTIVE_ANON], lru[Lru.INACTIVE_FILE]) == (3, 5)
    check_drained(m)


def migrate(m: Machine, task: Task) -> int:
    return m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask()))


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_migrate_pages_drains_first_and_moves_what_was_just_touched(profile: str) -> None:
    m, task, vma = started(profile)
    assert migrate(m, task) == 0
    assert nodes_of(m, vma)[:3] == [3, 3, 3]
    assert m.counters["lru_add_drain_all"] == 1
    check_drained(m)


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_without_the_drain_they_would_stay(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LruPagevecs, "flush", lambda self: None)
    m, task, vma = started(profile)
    migrate(m, task)
    assert nodes_of(m, vma)[:3] == [0, 0, 0]


def test_move_pages_finds_them_busy_without_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Me()
    vma = me.region({}, pages=4)
    me.touch(vma)
    with monkeypatch.context() as patch:
        patch.setattr(LruPagevecs, "flush", lambda self: None)
        assert me.move(me.addresses(vma), 2) == [0, ["-EBUSY"] * 4]
    assert me.move(me.addresses(vma), 2) == [0, [2] * 4]
    check_drained(me.m)


def test_mbind_drains_too() -> None:
    me = Me()
    vma = me.region({}, pages=4)
    me.touch(vma)
    assert me.mbind(vma, 2, [1], 1 | 2) == 0
    assert nodes_of(me.m, vma) == [1] * 4
    assert me.m.counters["lru_add_drain_all"] == 1


def test_the_drain_of_all_cpus_takes_its_time() -> None:
    m = machine()
    m.run(m.pagevecs.lru_add_drain_all())
    assert m.now == pytest.approx(m.costs.drain)


@pytest.mark.parametrize("profile", SIZES)
def test_pages_freed_while_they_wait_are_free_after_the_drain(profile: str) -> None:
    m, _, vma = started(profile)
    zap(m, vma, np.arange(3, dtype=np.int64))
    assert in_use(m) == 3
    assert m.frames.refcount[m.pagevecs.cached()].tolist() == [1, 1, 1]
    check_at_rest(m)
    m.pagevecs.lru_add_drain(0)
    assert in_use(m) == 0
    check_drained(m)


def test_who_unmaps_drains_its_own_cpu() -> None:
    m, _, vma = started()
    zap(m, vma, np.arange(2, dtype=np.int64), cpu=0)
    assert in_use(m) == 1
    munmap(m, vma, cpu=0)
    assert in_use(m) == 0


def test_an_exit_drains_the_cpu_that_it_happens_on() -> None:
    m, task, vma = started()
    write(m, task, vma, 3, 4, thread=1)
    do_exit(m, task)
    assert in_use(m) == 4, "what the second thread brought in on CPU 2"
    check_at_rest(m)
    m.run(m.pagevecs.lru_add_drain_all())
    assert in_use(m) == 0


@pytest.mark.parametrize("profile", SIZES)
def test_a_node_goes_offline_thanks_to_the_drain(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def going_offline() -> Machine:
        m, task, vma = started(profile, count=0)
        write(m, task, vma, 0, 3, thread=1)
        other = spawn(m, "other", cpu=3)
        write(m, other, region(m, other, {}, pages=4), 0, 4)
        other.leader.cpu = 5
        do_exit(m, other)
        return m

    m = going_offline()
    assert m.run(offline(m, 1)) == 0
    check_drained(m)
    monkeypatch.setattr(LruPagevecs, "flush", lambda self: None)
    m = going_offline()
    with pytest.raises(OSError) as caught:
        m.run(offline(m, 1))
    assert caught.value.errno == errno.EBUSY


def test_a_page_of_a_file_that_is_cut_off_stays_until_the_drain() -> None:
    m, task, _ = started(count=0)
    space = file(m, "ext3", 6)
    m.run(read(m, task, task.leader, space, np.arange(6, dtype=np.int64)))
    m.run(truncate(m, space, 2, cpu=4))
    assert in_use(m) == 6
    check_at_rest(m)
    m.run(truncate(m, space, 1, cpu=0))
    assert in_use(m) == 1
    check_drained(m)


def test_a_page_that_comes_back_from_swap_waits_too() -> None:
    m, task, vma = started()
    m.pagevecs.lru_add_drain(0)
    m.run(Reclaimer.of(m)._page_out(pages(vma, 3)))
    assert vma.nr_swap == 3
    m.run(access(m, task, task.threads[1], vma.start, write=False))
    assert m.pagevecs.cached().tolist() == pages(vma, 1).tolist()
    assert m.frames.refcount[pages(vma, 1)].tolist() == [3], "its PTE, the swap cache, the pagevec"
    check_at_rest(m)
    zap(m, vma, np.arange(1, dtype=np.int64))
    check_at_rest(m)
    m.pagevecs.lru_add_drain(2)
    assert m.swap.used == 2
    assert in_use(m) == 0
    check_drained(m)


@pytest.mark.parametrize(("thread", "stays"), [(0, -1), (1, 0)])
def test_reclaim_drains_its_own_cpu_only(thread: int, stays: int) -> None:
    m = machine(pages=100, nodes=1, swap_pages=300)
    task = spawn(m, "t", cpu=0, threads=[1])
    vma = region(m, task, {}, pages=150)
    write(m, task, vma, 0, 4, thread)
    for first in range(4, 148, 4):
        write(m, task, vma, first, 4)
        m.advance(0.05)
    assert nodes_of(m, vma)[:4] == [stays] * 4
    assert vma.nr_swap > 50
    check_drained(m)


def test_numa_balancing_leaves_pages_alone_that_wait() -> None:
    m, _, vma = started()
    everything = np.arange(3, dtype=np.int64)
    assert len(change_prot_numa(m, vma, everything, None)) == 0
    m.pagevecs.flush()
    assert len(change_prot_numa(m, vma, everything, None)) == 3


def test_a_child_maps_pages_that_wait() -> None:
    m, task, vma = started()
    child = m.run(fork(m, task))
    assert m.frames.refcount[pages(vma, 3)].tolist() == [3, 3, 3]
    do_exit(m, task)
    check_at_rest(m)
    do_exit(m, child)
    assert in_use(m) == 0
    check_drained(m)


def test_a_described_machine_starts_drained() -> None:
    text = """
machine: {nodes: [{id: 0, memory: 8MiB, cpus: 0}, {id: 1, memory: 8MiB, cpus: 1}]}
filesystems: [{name: d, type: ext3, files: [{name: f, size: 20KiB}]}]
processes: [{name: a, node: 0,
             memory: [{name: r, size: 28KiB}, {name: s, size: 40KiB, on: {1: 100%}}, {name: f, file: d/f}]}]
"""
    m = build(parse_description(text)).machine
    assert on_lru(m) == 22
    assert not len(m.pagevecs.cached())


BROKEN = {
    "the pagevec takes no reference": (
        LruPagevecs,
        "lru_cache_add",
        lambda self, pfns, active, cpu: self._waiting.setdefault((cpu, active), []).extend(pfns.tolist()),
    ),
    "the drain keeps the references": (
        LruPagevecs,
        "_to_lru",
        lambda self, waiting: (self._m.frames.add_lru(np.array(waiting, np.int32)), waiting.clear()),
    ),
    "the drain forgets the LRU": (MemMap, "add_lru", lambda self, pfns, active=None: None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_invariants_notice_broken_pagevecs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, replacement = BROKEN[name]
    monkeypatch.setattr(owner, attribute, replacement)
    m, _, _ = started()
    with pytest.raises(AssertionError):
        check_drained(m)
