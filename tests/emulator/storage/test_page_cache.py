"""Files and shared memory: what is read, what is written when, and what becomes of it when the file changes."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.emulator.frames.page import PG
from backend.emulator.mm.fault import access, touch
from backend.emulator.mm.file_fault import BusError
from backend.emulator.mm.fork import fork
from backend.emulator.mm.mempolicy import Mempolicy
from backend.emulator.mm.mm import PTE_PRESENT
from backend.emulator.mm.mmap import mmap, munmap
from backend.emulator.storage import file_io
from backend.emulator.storage.page_cache import truncate
from backend.emulator.storage.writeback import pageout, start_writing, write_buffers
from backend.emulator.tasks.life import do_exit, spawn
from backend.kernel import Mode
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of

PAGE = 4096
PROFILES = ["linux-6", "direct-v8"]


def span(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(first, first + count, dtype=np.int64)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["ext2", "ext3", "xfs", "nfs"])
def test_a_mapping_reads_the_device_once_and_two_processes_share_the_pages(profile: str, kind: str) -> None:
    m = machine(profile)
    space = file(m, kind)
    one, two = spawn(m, "one", cpu=0), spawn(m, "two", cpu=6)
    first, second = mapped(m, one, space), mapped(m, two, space)
    m.run(touch(m, one, one.leader, first.start, span(0, 16), write=False))
    assert m.counters["pgpgin"] == 16
    assert nodes_of(m, first) == [0] * 16
    value = m.run(access(m, two, two.leader, second.start + 3 * PAGE, write=True))
    assert m.run(access(m, one, one.leader, first.start + 3 * PAGE, write=False)) == value
    assert m.counters["pgpgin"] == 16
    assert m.frames.mapcount[space.pages[3]] == 2
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_private_mapping_reads_the_file_and_writes_to_copies_of_its_own(profile: str) -> None:
    m = machine(profile)
    space = file(m)
    task = spawn(m, "t", cpu=2)
    vma = mapped(m, task, space, shared=False)
    before = space.device.copy()
    assert m.run(access(m, task, task.leader, vma.start, write=False)) == before[0]
    m.run(access(m, task, task.leader, vma.start, write=True))
    m.run(access(m, task, task.leader, vma.start + PAGE, write=True))
    check_at_rest(m)
    assert vma.nr_anon == 2
    assert (space.device == before).all()
    assert not space.dirty.any()
    do_exit(m, task)
    check_at_rest(m)
    assert m.frames.refcount.sum() == 2, "only the cache has its two pages"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_written_reaches_the_device_with_fsync_or_msync_and_takes_time(profile: str) -> None:
    m = machine(profile)
    space = file(m, "ext2", on={0: 16})
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, span(0, 8), write=True))
    m.run(file_io.write(m, task, task.leader, space, span(8, 4)))
    check_at_rest(m)
    began = m.now
    m.run(file_io.msync(m, task, vma.start, span(0, 16), wait=True))
    assert m.now - began >= 12 * space.fs.write
    assert m.counters["nr_written"] == 12
    assert (space.device == space.expected).all()
    m.run(access(m, task, task.leader, vma.start, write=True))
    check_at_rest(m)
    assert vma.nr_dirty == 1, "written again, dirty again"


def test_linux_6_notices_the_first_write_to_a_clean_page() -> None:
    m = machine("linux-6")
    space = file(m, on={0: 16})
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(access(m, task, task.leader, vma.start, write=False))
    assert not space.dirty[0]
    m.run(access(m, task, task.leader, vma.start, write=True))
    assert space.dirty[0]
    m.run(file_io.fsync(m, space))
    faults = task.min_flt
    m.run(access(m, task, task.leader, vma.start, write=True))
    assert task.min_flt == faults + 1
    assert space.dirty[0]
    check_at_rest(m)


def test_a_journal_locks_the_buffers_while_it_writes_them_itself() -> None:
    m = machine("direct-v8")
    space = file(m, "ext3", on={0: 4}, dirty=True)
    done = m.env.process(file_io.fsync(m, space))
    seen = 0
    while done.is_alive:
        m.env.step()
        flags = m.frames.flags[space.pages[:4]]
        seen |= int(np.bitwise_or.reduce(flags))
    assert seen & PG.BUFFER_LOCK
    assert not seen & PG.WRITEBACK
    assert (space.device == space.expected).all()
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_truncate_takes_pages_away_from_all_who_map_them(profile: str) -> None:
    m = machine(profile)
    space = file(m, on={0: 16}, dirty=True)
    task = spawn(m, "t", cpu=0)
    vma, private = mapped(m, task, space), mapped(m, task, space, shared=False)
    m.run(touch(m, task, task.leader, vma.start, span(0, 16), write=True))
    m.run(touch(m, task, task.leader, private.start, span(0, 16), write=True))
    m.run(truncate(m, space, 5))
    check_at_rest(m)
    assert np.count_nonzero(vma.pte & PTE_PRESENT) == np.count_nonzero(private.pte & PTE_PRESENT) == 5
    with pytest.raises(BusError):
        m.run(access(m, task, task.leader, vma.start + 5 * PAGE, write=False))
    m.run(file_io.write(m, task, task.leader, space, span(4, 4)))
    m.run(access(m, task, task.leader, vma.start + 6 * PAGE, write=False))
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_an_unlinked_file_lives_as_long_as_somebody_maps_it(profile: str) -> None:
    m = machine(profile)
    space = file(m, on={1: 16})
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    m.run(touch(m, task, task.leader, vma.start, span(0, 16), write=True))
    m.run(file_io.unlink(m, space))
    check_at_rest(m)
    assert m.frames.zones[1].nr_file == 16
    munmap(m, vma)
    check_at_rest(m)
    assert m.frames.zones[1].nr_file == 0
    assert not m.rmap.spaces
    assert all(zone.free == zone.pages for zone in m.frames.zones.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_shared_memory_is_seen_by_all_and_goes_out_to_swap_and_back(profile: str) -> None:
    m = machine(profile, pages=64, nodes=2, swap_pages=300)
    space = shared_memory(m, 150)
    parent = spawn(m, "parent", cpu=0)
    vma = mapped(m, parent, space)
    m.run(touch(m, parent, parent.leader, vma.start, span(0, 150), write=True))
    child = m.run(fork(m, parent))
    assert (space.swapped >= 0).sum() > 20
    check_at_rest(m)
    for index in range(150):
        address = vma.start + index * PAGE
        assert m.run(access(m, child, child.leader, address, write=False)) == space.expected[index]
    value = m.run(access(m, child, child.leader, vma.start, write=True))
    assert m.run(access(m, parent, parent.leader, vma.start, write=False)) == value
    check_at_rest(m)
    do_exit(m, parent)
    do_exit(m, child)
    check_at_rest(m)
    assert m.swap.used == 0
    assert all(zone.free == zone.pages for zone in m.frames.zones.values())


def test_shared_memory_has_its_policy_with_the_object_for_all_who_map_it() -> None:
    from backend.emulator.abi.mbind import mbind
    from backend.emulator.tasks.credentials import Caller

    m = machine("linux-6")
    space = shared_memory(m)
    one, two = spawn(m, "one", cpu=0), spawn(m, "two", cpu=0)
    first, second = mapped(m, one, space), mapped(m, two, space)
    mask = NodeSet([1, 3]).mask()
    m.run(mbind(m, Caller(0, True, one.pid), first.start, 8 * PAGE, Mode.INTERLEAVE, 65, mask, 0))
    m.run(touch(m, two, two.leader, second.start, span(0, 16), write=True))
    assert nodes_of(m, second) == [1, 3] * 4 + [0] * 8
    assert second.policy_at(0) == Mempolicy(Mode.INTERLEAVE, NodeSet([1, 3]))
    check_at_rest(m)


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_of_files_give_way_without_swap_and_dirty_ones_are_written_first(profile: str) -> None:
    m = machine(profile, pages=64, nodes=1, swap_pages=0)
    space = file(m, "ext2", pages=300)
    task = spawn(m, "t", cpu=0)
    vma = mapped(m, task, space)
    for first in range(0, 300, 10):
        m.run(touch(m, task, task.leader, vma.start, span(first, 10), write=True))
    assert task.alive
    check_at_rest(m)
    assert m.counters["nr_written"] > 150
    for index in range(300):
        address = vma.start + index * PAGE
        assert m.run(access(m, task, task.leader, address, write=False)) == space.expected[index]
    check_at_rest(m)


def test_a_read_of_untouched_memory_maps_the_zero_page_which_nobody_counts() -> None:
    m = machine("linux-6")
    task = spawn(m, "t", cpu=0)
    vma = mmap(m, task, 4)
    vma.expected = np.zeros(4, np.uint64)
    free = m.frames.zones[0].free
    assert m.run(access(m, task, task.leader, vma.start, write=False)) == 0
    assert (m.frames.zones[0].free, task.min_flt, vma.nr_mapped) == (free, 1, 0)
    m.run(access(m, task, task.leader, vma.start, write=False))
    assert task.min_flt == 1
    m.run(access(m, task, task.leader, vma.start, write=True))
    assert vma.nr_mapped == 1
    check_at_rest(m)


@pytest.mark.parametrize("begin", [write_buffers, start_writing])
def test_a_page_whose_write_is_in_flight_is_not_written_a_second_time(begin: Any) -> None:
    m = machine("swap-2.6.15")
    space = file(m, "ext3", on={1: 1}, dirty=True)
    page = space.pages[:1].astype(np.int32)
    assert m.locks.trylock(page).all()
    (first,) = begin(m, page)
    assert m.locks.trylock(page).all()
    m.rmap.set_dirty(m.frames, page)
    assert not pageout(m, page).any()
    assert len(space.writes) == 1
    m.env.run(first)
    assert pageout(m, page).all()
    m.env.run(space.writes[0])
    check_at_rest(m)
