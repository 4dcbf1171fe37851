"""Pages of files and shared memory move: with the filesystem's method, or without one."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames.page import PG
from backend.emulator.frames.page_lock import Events
from backend.emulator.machine import Machine, Patches
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.mm import Vma
from backend.emulator.storage import file_io
from backend.emulator.storage.filesystem import AddressSpace, FilesystemType
from backend.emulator.storage.page_cache import truncate
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, nodes_of

PAGE = 4096
ALL = np.arange(16, dtype=np.int64)


def migrate(m: Machine, task: Task, old: list[int], new: list[int]) -> Events:
    masks = NodeSet(old).mask(), NodeSet(new).mask()
    return syscalls.migrate_pages(m, Caller(), task.pid, 65, *masks)


def cached(m: Machine, space: AddressSpace) -> list[int]:
    return [int(m.frames.nid[pfn]) if pfn >= 0 else -1 for pfn in space.pages.tolist()]


def on_node_1(profile: str, kind: str, dirty: bool = True, **options: Any) -> tuple[Machine, Task, Vma, AddressSpace]:
    """16 mapped pages of a file on node 1, dirty in the cache or clean, and accessed through the mapping."""
    m = machine(profile, **options)
    space = file(m, kind, on={1: 16}, dirty=dirty)
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, ALL, write=dirty))
    return m, task, vma, space


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("kind", ["ext2", "ext3", "xfs"])
@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_dirty_pages_move_without_a_write_where_the_filesystem_has_a_method(
    profile: str, kind: str, batch: int
) -> None:
    m, task, vma, space = on_node_1(profile, kind, batch=batch)
    left = m.run(migrate(m, task, [1], [3]))
    assert (left, cached(m, space)) == (0, [3] * 16)
    assert "nr_written" not in m.counters
    assert (space.dirty).all()
    assert (m.frames.flags[space.pages] & PG.PRIVATE).all()
    check_at_rest(m)
    for index in range(16):
        address = vma.start + index * PAGE
        assert m.run(access(m, task, task.leader, address, write=False)) == space.expected[index]
    m.run(file_io.fsync(m, space))
    assert (space.device == space.expected).all()
    check_at_rest(m)


def test_after_direct_migration_pages_of_files_fault_back_from_the_cache() -> None:
    m, task, vma, _space = on_node_1("direct-v8", "ext3")
    m.run(migrate(m, task, [1], [3]))
    assert nodes_of(m, vma) == [-1] * 16
    m.run(touch(m, task, task.leader, vma.start, ALL, write=False))
    assert nodes_of(m, vma) == [3] * 16
    assert "pgpgin" not in m.counters
    check_at_rest(m)


@pytest.mark.parametrize("batch", [1, 64])
def test_without_a_method_every_dirty_page_is_written_before_it_moves(batch: int) -> None:
    m, task, _, space = on_node_1("direct-v8", "nfs", batch=batch)
    assert m.run(migrate(m, task, [1], [3])) == 0
    assert cached(m, space) == [3] * 16
    assert m.counters["nr_written"] == 16
    assert (space.device == space.expected).all()
    check_at_rest(m)


def test_clean_pages_without_a_method_just_lose_their_buffers() -> None:
    m, task, _, space = on_node_1("direct-v8", "nfs", dirty=False)
    assert m.run(migrate(m, task, [1], [3])) == 0
    assert cached(m, space) == [3] * 16
    assert "nr_written" not in m.counters
    check_at_rest(m)


def test_where_buffers_can_never_be_released_all_passes_ask_for_a_retry_and_the_page_stays_whole() -> None:
    m = machine("direct-v8")
    stubborn = FilesystemType("stubborn", "none", releases=False)
    file_io.mount(m, "stubborn", stubborn)
    space = file(m, "stubborn", on={1: 4}, dirty=True)
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, ALL[:4], write=True))
    assert m.run(migrate(m, task, [1], [3])) == 4
    assert m.counters["migrate_passes"] == 11
    assert cached(m, space)[:4] == [1] * 4
    assert (space.device == space.expected).all()
    check_at_rest(m)


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_buffers_that_a_journal_writes_are_waited_for_and_nothing_is_lost(profile: str) -> None:
    m, task, vma, space = on_node_1(profile, "ext3", batch=4)
    m.env.process(file_io.msync(m, task, vma.start, ALL, wait=False))
    writing = m.env.process(file_io.fsync(m, space))
    while not (m.frames.flags[space.pages] & PG.BUFFER_LOCK).any():
        m.env.step()
    moving = m.env.process(migrate(m, task, [1], [3]))
    while moving.is_alive:
        m.env.step()
        check(m)
    assert writing.is_alive or (space.device == space.expected).all()
    check_at_rest(m)
    m.run(file_io.fsync(m, space))
    assert (space.device == space.expected).all()
    assert set(cached(m, space)) <= {1, 3}
    assert cached(m, space).count(3) >= 12
    check_at_rest(m)


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_a_file_that_is_cut_while_its_pages_move(profile: str, steps: int) -> None:
    m, task, _, space = on_node_1(profile, "ext3", batch=2)
    moving = m.env.process(migrate(m, task, [1], [3]))
    for _ in range(steps):
        m.env.step()
    cutting = m.env.process(truncate(m, space, 3))
    while moving.is_alive or cutting.is_alive:
        m.env.step()
        check(m)
    check_at_rest(m)
    assert cached(m, space)[:3] == [3] * 3
    assert space.size == 3


def test_shared_memory_moves_through_the_swap_cache_in_2_6_and_keeps_its_slots_until_touched() -> None:
    m = machine("direct-v8")
    space = shared_memory(m)
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, ALL, write=True))
    assert m.run(migrate(m, task, [0], [2])) == 0
    assert m.swap.used == 16
    assert "pswpout" not in m.counters
    check_at_rest(m)
    m.run(touch(m, task, task.leader, vma.start, ALL, write=False))
    assert nodes_of(m, vma) == [2] * 16
    assert m.swap.used == 0
    assert "pswpin" not in m.counters
    check_at_rest(m)


def test_shared_memory_moves_at_once_in_linux_6() -> None:
    m = machine("linux-6", swap_pages=0)
    space = shared_memory(m)
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, ALL, write=True))
    assert m.run(migrate(m, task, [0], [2])) == 0
    assert nodes_of(m, vma) == [2] * 16
    check_at_rest(m)


@pytest.mark.parametrize("profile", ["direct-v8", "swap-2.6.15"])
def test_a_page_that_another_process_has_locked_in_memory_fails_for_good(profile: str) -> None:
    from backend.emulator.mm.mlock import mlock

    m, task, _, space = on_node_1(profile, "ext3")
    other = spawn(m, "other", cpu=0)
    theirs = mapped(m, other, space)
    m.run(mlock(m, other, theirs.start, 16))
    assert m.run(migrate(m, task, [1], [3])) == 16
    assert cached(m, space) == [1] * 16
    if profile == "direct-v8":
        assert "migrate_passes" not in m.counters, "a permanent failure asks for no retry"
    check_at_rest(m)


def test_swap_migration_drops_pages_of_files_which_come_back_by_policy() -> None:
    m, task, vma, space = on_node_1("swap-2.6.15", "ext3")
    assert m.run(migrate(m, task, [1], [3])) == 0
    assert cached(m, space) == [-1] * 16
    assert m.counters["nr_written"] == 16
    assert m.swap.used == 0
    m.run(touch(m, task, task.leader, vma.start, ALL, write=False))
    assert cached(m, space) == [0] * 16
    check_at_rest(m)


def test_without_patch_5_every_dirty_page_is_written_back() -> None:
    writes = {}
    for on in (True, False):
        m, task, _, space = on_node_1("direct-v8", "ext3", patches=Patches(buffer_migrate=on))
        assert m.run(migrate(m, task, [1], [3])) == 0
        assert cached(m, space) == [3] * 16
        writes[on] = m.counters.get("nr_written", 0)
        check_at_rest(m)
    assert writes == {True: 0, False: 16}
