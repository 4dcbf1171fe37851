"""Each invariant can fail: the machine is broken in one place, and the checks notice."""

# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backend.emulator.abi import syscalls
from backend.emulator.frames import frames as compound
from backend.emulator.frames.frames import MemMap
from backend.emulator.frames.page import PG, Pfns
from backend.emulator.frames.page_lock import Events, PageLocks
from backend.emulator.machine import Machine
from backend.emulator.migration import migrate_page, nodes
from backend.emulator.mm import fault, huge_pages, ksm
from backend.emulator.mm.mm import VM, ReverseMap, Vma
from backend.emulator.mm.mmap import mmap
from backend.emulator.mm.zap import zap
from backend.emulator.storage import file_io, page_cache, writeback
from backend.emulator.storage.swap import SwapArea
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import do_exit, spawn
from backend.nodeset import NodeSet
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, region, write_equal


def life(profile: str) -> None:
    """Touch, migrate with a fault in between, drop, exit; everything checked at rest."""
    m = machine(profile, batch=4)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 12}, pages=16)
    check(m)
    moving = m.env.process(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([2]).mask()))
    while not (vma.pte & 0x30).any():
        m.env.step()
    at = np.nonzero(vma.pte & 0x30)[0][:1]
    m.env.process(fault.touch(m, task, task.leader, vma.start, at, write=True))
    while moving.is_alive:
        m.env.step()
        check(m)
    check_at_rest(m)
    m.run(fault.touch(m, task, task.leader, vma.start, np.arange(8, 16, dtype=np.int64), write=True))
    zap(m, vma, np.arange(4, dtype=np.int64))
    check_at_rest(m)


def no_copy(original: Callable[..., Any]) -> Callable[..., Any]:
    def forget_and_spoil(m: Any, old: Any) -> None:
        original(m, old)
        m.frames.contents[m.swap.cache[m.swap.cache >= 0]] = 1
        m.frames.contents[old] = 0

    return forget_and_spoil


def file_life(profile: str) -> None:
    """A dirty file is moved, written out, cut, shared memory swapped; everything checked at rest."""
    m = machine(profile, batch=4, pages=64, nodes=2, swap_pages=200)
    task = spawn(m, "t", cpu=0)
    space = file(m, "ext3", on={0: 8}, pages=12, dirty=True)
    shared = shared_memory(m, 130)
    vma, memory = mapped(m, task, space), mapped(m, task, shared)
    index = np.arange(12, dtype=np.int64)
    m.run(fault.touch(m, task, task.leader, vma.start, index, write=True))
    m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask()))
    check_at_rest(m)
    m.run(fault.touch(m, task, task.leader, memory.start, np.arange(130, dtype=np.int64), write=True))
    check_at_rest(m)
    m.run(fault.touch(m, task, task.leader, memory.start, np.arange(130, dtype=np.int64), write=False))
    m.run(file_io.msync(m, task, vma.start, index, wait=True))
    check_at_rest(m)
    m.run(fault.touch(m, task, task.leader, vma.start, index, write=False))
    m.run(page_cache.truncate(m, space, 3))
    check_at_rest(m)


def huge_life(profile: str) -> None:
    """Huge pages of both kinds are moved, cut and freed; equal pages merged."""
    m = machine("linux-6", huge=8)
    huge_pages.fill_pool(m, 0, 2)
    huge_pages.fill_pool(m, 1, 2)
    task = spawn(m, "t", cpu=0)
    for flag in (VM.HUGEPAGE, VM.HUGETLB):
        vma = mmap(m, task, 16, flags=VM.WRITE | flag)
        vma.expected = np.zeros(16, np.uint64)
        m.run(fault.touch(m, task, task.leader, vma.start, np.arange(16, dtype=np.int64), write=True))
    equal = region(m, task, {0: 8})
    write_equal(m, equal, np.arange(8, dtype=np.int64), 5)
    m.run(ksm.merge(m, task, equal.start, np.arange(8, dtype=np.int64)))
    check_at_rest(m)
    m.run(syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([1]).mask()))
    check_at_rest(m)
    zap(m, task.mm.vmas[0], np.arange(3, dtype=np.int64))
    check_at_rest(m)
    do_exit(m, task)
    check_at_rest(m)


FILE_MUTANTS = {
    "a dirty file page is dropped unwritten": (
        "direct-v8",
        writeback,
        "_write",
        lambda m, space, pages, index, contents: nothing(m, pages),
    ),
    "the dirty tag is forgotten": ("linux-6", ReverseMap, "_tag", lambda self, frames, pfns, dirty: None),
    "the file keeps the old frame": ("direct-v8", migrate_page, "by_space", lambda m, pages: []),
    "buffers are not handed over": ("direct-v8", migrate_page, "_hand_over_buffers", lambda m, old, new: None),
    "truncated pages stay mapped": ("linux-6", page_cache, "unmap_range", lambda m, space, first, count=None: None),
    "the page cache is not counted": ("linux-6", MemMap, "count_cache", lambda self, pfns, sign: None),
    "shared memory forgets its slots": ("linux-6", SwapArea, "duplicate", lambda self, entries: None),
}
HUGE_MUTANTS = {
    "a part of a huge page stays one": ("linux-6", compound, "split_huge", lambda frames, pfns: None),
    "the pool does not get its pages back": ("linux-6", compound, "free_compound", lambda frames, pfns: pfns),
    "a frame named many times is put once": ("linux-6", MemMap, "put", lambda self, pfns: put_once(self, pfns)),
}  # fmt: skip


def put_once(frames: MemMap, pfns: Pfns) -> None:
    """As if no frame could be named twice in a batch."""
    frames.refcount[pfns] -= 1
    frames.free(np.unique(pfns[frames.refcount[pfns] == 0]))


def nothing(m: Machine, pages: Pfns) -> Events:
    """A device that says it has written what it has not."""
    yield m.env.timeout(1e-3)
    flags = m.frames.flags[pages]
    m.locks.end_writeback(pages[(flags & PG.WRITEBACK) != 0])
    m.locks.unlock_buffers(pages[(flags & PG.BUFFER_LOCK) != 0])


MUTANTS = {
    "slots are never given back": ("direct-v8", SwapArea, "release", lambda self, entries: None),
    "swap PTEs are not counted": ("direct-v8", SwapArea, "duplicate", lambda self, entries: None),
    "the swap cache keeps the old frame": ("direct-v8", SwapArea, "replace", lambda self, frames, old, new: None),
    "contents are not copied": ("direct-v8", migrate_page, "_forget", no_copy(migrate_page._forget)),
    "moved frames are kept": ("linux-6", nodes, "put_all_back", lambda m, lists: None),
    "locks are never released": ("linux-6", PageLocks, "unlock", lambda self, pfns: None),
    "the LRU is not counted": ("linux-6", MemMap, "_count_lru", lambda self, pfns, sign: None),
    "the swap cache is not counted": ("direct-v8", MemMap, "count_swap_cache", lambda self, pfns, sign: None),
    "per-node counts are not kept": ("linux-6", Vma, "_count", lambda self, frames, index, pfns, sign: None),
    "freed frames keep their flags": (
        "linux-6",
        MemMap,
        "drop_lru",
        lambda self, pfns: self.flags.__setitem__(pfns, self.flags[pfns] & ~np.uint32(PG.LRU)),
    ),
}


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_the_sound_machine_passes(profile: str) -> None:
    life(profile)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, owner, attribute, replacement = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises((AssertionError, IndexError)):
        life(profile)


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_the_sound_machine_passes_with_files_and_huge_pages(profile: str) -> None:
    file_life(profile)
    huge_life(profile)


@pytest.mark.parametrize("name", [*FILE_MUTANTS, *HUGE_MUTANTS])
def test_a_machine_whose_files_or_huge_pages_are_broken_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, owner, attribute, replacement = (FILE_MUTANTS | HUGE_MUTANTS)[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises((AssertionError, IndexError, fault.SegmentationFault)):
        (file_life if name in FILE_MUTANTS else huge_life)(profile)
