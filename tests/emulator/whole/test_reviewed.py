"""What a review found: each of these was wrong once."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import contextlib
import errno

import numpy as np
import pytest

from backend.emulator.abi import policy_calls, syscalls
from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.frames.page import PG, State
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine
from backend.emulator.migration.hotplug import bad_page, offline
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mlock import mlock
from backend.emulator.mm.mm import VM, Vma
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.mm.placing import SegmentationFault
from backend.emulator.scenario.description import parse_description
from backend.emulator.scenario.run import run_scenario
from backend.emulator.scenario.shipped import load
from backend.emulator.storage import file_io
from backend.emulator.storage.swapoff import swapoff
from backend.emulator.study.compare import benefits
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.kernel import Mode, PolicyFlag
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096
TWO_NODES = (
    "machine:\n  profile: PROFILE\n  nodes: [{id: 0, memory: 8MiB, cpus: 0-1}, {id: 1, memory: 8MiB, cpus: "
    "2-3}]\n  swap: 4MiB\n"
)


@pytest.mark.parametrize(("profile", "kind"), [("linux-6", "ext4"), ("direct-v8", "ext3"), ("linux-6", "ext2")])
def test_fsync_returns_when_the_data_is_on_the_device_also_while_pages_move(profile: str, kind: str) -> None:
    for steps in range(1, 30):
        m = machine(profile, batch=2)
        space = file(m, kind, 4, {1: 4}, dirty=True)
        task = spawn(m, "t", cpu=0)
        vma = mapped(m, task, space)
        m.run(touch(m, task, task.leader, vma.start, np.arange(4, dtype=np.int64), write=False))
        saving = m.env.process(file_io.fsync(m, space))
        for _ in range(steps):
            if m.env.peek() != float("inf"):
                m.env.step()
        moving = syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([1]).mask(), NodeSet([3]).mask())
        m.env.process(moving)
        if saving.is_alive:
            m.env.run(until=saving)
        assert (space.device == space.expected).all()
        check_at_rest(m)


def test_swapoff_brings_pages_back_where_their_policy_says() -> None:
    m = machine("swap-2.6.15")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 8}, policy=Mempolicy(Mode.BIND, NodeSet([1])))
    m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask()))
    m.run(swapoff(m))
    assert nodes_of(m, vma) == [1] * 8
    check_at_rest(m)


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_a_child_does_not_inherit_locked_memory(profile: str) -> None:
    m = machine(profile)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 4})
    m.run(mlock(m, task, vma.start, 4))
    child = m.run(fork(m, task))
    assert not any(one.flags & VM.LOCKED for one in child.mm.vmas)
    check_at_rest(m)


def test_mlock_and_a_query_of_the_node_write_nothing() -> None:
    m = machine("linux-6")
    space = file(m, "ext4", 8, {0: 8})
    task = spawn(m, "t", cpu=0)
    vma, own = mapped(m, task, space), region(m, task, {0: 2}, pages=4)
    m.run(mlock(m, task, vma.start, 8))
    assert not space.dirty.any()
    child = m.run(fork(m, task))
    before = int(own.expected[0])
    caller = Caller(0, True, child.pid)
    flags = PolicyFlag.NODE | PolicyFlag.ADDR
    assert m.run(policy_calls.get_mempolicy(m, caller, 65, own.start, flags))[0] == 0
    assert m.run(access(m, task, task.leader, own.start, write=False)) == before
    assert m.frames.mapcount[own.pfns(np.array([0]))[0]] == 2, "still shared with the child"
    m.run(mlock(m, task, own.start, 4))
    assert nodes_of(m, own) == [0] * 4
    check_at_rest(m)


def test_a_query_beyond_the_end_of_a_file_is_efault() -> None:
    m = machine("linux-6")
    space = file(m, "ext4", 4, {0: 4})
    task = spawn(m, "t", cpu=0)
    vma = mmap(m, task, 8, kind="file", file=space, flags=VM.WRITE | VM.SHARED)
    kernel = EmulatedKernel(m, Caller(0, True, task.pid))
    with pytest.raises(OSError) as caught:
        kernel.get_mempolicy(65, vma.start + 6 * PAGE, PolicyFlag.NODE | PolicyFlag.ADDR)
    assert caught.value.errno == errno.EFAULT
    check_at_rest(m)


def test_equal_policies_of_shared_memory_are_kept_once() -> None:
    m = machine("linux-6")
    space = file(m, "tmpfs", 8)
    for turn in range(50):
        space.set_policy(turn % 8, 1, Mempolicy(Mode.BIND, NodeSet([turn % 2])))
    assert len(space.policy_list) == 3


def test_a_node_goes_offline_when_cold_pages_elsewhere_can_be_swapped_out() -> None:
    m = machine("linux-6", pages=128, nodes=2, swap_pages=400)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 60, 1: 100})
    m.run(offline(m, 0))
    assert 0 not in nodes_of(m, vma)
    assert m.counters["pswpout"] > 0
    check_at_rest(m)


def test_a_locked_file_page_loses_its_mark_with_the_last_locked_mapping_and_gets_it_when_swapped_in() -> None:
    m = machine("linux-6")
    space = file(m, "ext4", 4, {0: 4})
    one, two = spawn(m, "one", cpu=0), spawn(m, "two", cpu=0)
    first, second = mapped(m, one, space), mapped(m, two, space)
    m.run(touch(m, two, two.leader, second.start, np.arange(4, dtype=np.int64), write=False))
    m.run(mlock(m, one, first.start, 4))
    assert (m.frames.flags[space.pages] & PG.MLOCKED).all()
    munmap(m, first)
    assert not (m.frames.flags[space.pages] & PG.MLOCKED).any()
    check_at_rest(m)


def test_a_free_frame_that_is_bad_is_kept_out() -> None:
    m = machine("linux-6")
    pfn = int(m.frames.zones[2].stack[5])
    free = m.frames.zones[2].free
    m.run(bad_page(m, pfn))
    assert (m.frames.state[pfn], m.frames.zones[2].free) == (State.KEPT_OUT, free - 1)
    check_at_rest(m)


def test_the_same_value_written_to_shared_memory_survives_eviction() -> None:
    text = (
        TWO_NODES.replace("PROFILE", "swap-2.6.15")
        + "processes:\n  - {name: a, node: 0, memory: [{name: s, kind: shared, size: 64KiB}]}\nsteps:\n"
        "  - {at: 1s, touch: {task: a, region: s, value: 7}}\n  - {at: 2s, migrate_pages: {task: a, from: 0, to: 1}}\n"
        "  - {at: 3s, touch: {task: a, region: s, write: off}}\n  - {at: 4s, touch: {task: a, region: s, write: "
        "off, value: 8}}\n"
    )
    report = run_scenario(parse_description(text))
    assert report["damaged_pages"] == 0
    assert report["steps"][3]["errno"] == "EINVAL"


def test_as_means_the_process_of_that_whole_name() -> None:
    text = (
        TWO_NODES.replace("PROFILE", "linux-6") + "processes:\n"
        "  - {name: application-server-1, uid: 1, node: 0}\n  - {name: application-server-2, uid: 2, node: 0}\n"
        "  - {name: target, uid: 2, node: 0, memory: [{size: 64KiB, on: {0: 100%}}]}\n"
        "steps:\n  - {at: 1s, migrate_pages: {task: target, from: 0, to: 1, as: application-server-2}}\n"
        "  - {at: 2s, migrate_pages: {task: target, from: 1, to: 0, as: application-server-1}}\n"
    )
    report = run_scenario(parse_description(text))
    assert [step["errno"] for step in report["steps"]] == [None, "EPERM"]
    assert report["steps"][0]["arguments"] == {"from": "0", "to": "1", "as": "application-server-2"}


def test_benefits_count_what_a_change_of_a_cpuset_moves() -> None:
    direct, swap = (benefits(load("cpuset-keeps-interleave", profile)) for profile in ("direct-v8", "swap-2.6.15"))
    assert direct["pages_asked"] > 0
    assert direct["pages_written"] == 0 < swap["pages_written"]


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_a_mapping_that_goes_while_a_fault_waits_for_memory_gets_no_page(profile: str) -> None:
    def touching(m: Machine, task: Task, vma: Vma) -> Events:
        with contextlib.suppress(SegmentationFault):
            yield from touch(m, task, task.leader, vma.start, np.arange(30, dtype=np.int64), write=True)

    for steps in range(1, 60):
        m = machine(profile, pages=64, nodes=1, swap_pages=300, batch=4)
        task = spawn(m, "t", cpu=0)
        region(m, task, {0: 52})
        vma = region(m, task, {}, pages=30)
        m.env.process(touching(m, task, vma))
        for _ in range(steps):
            if m.env.peek() != float("inf"):
                m.env.step()
        munmap(m, vma)
        check_at_rest(m)
