"""Each invariant can fail: the machine is broken in one place, and the checks notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backend.emulator import fault, syscalls
from backend.emulator.frames import PG, MemMap
from backend.emulator.migration import migrate_page, nodes
from backend.emulator.mm import Vma
from backend.emulator.page_lock import PageLocks
from backend.emulator.swap import SwapArea
from backend.emulator.syscalls import Caller
from backend.nodeset import NodeSet
from tests.emulator.invariants import check, check_at_rest
from tests.emulator.machines import machine, region


def life(profile: str) -> None:
    """Touch, migrate with a fault in between, drop, exit; everything checked at rest."""
    m = machine(profile, batch=4)
    task = m.spawn("t", cpu=0)
    vma = region(m, task, {0: 12}, pages=16)
    check(m)
    moving = m.env.process(
        syscalls.migrate_pages(m, Caller(), task.pid, 65, NodeSet([0]).mask(), NodeSet([2]).mask())
    )
    while not (vma.pte & 0x30).any():
        m.env.step()
    at = np.nonzero(vma.pte & 0x30)[0][:1]
    m.env.process(fault.touch(m, task, task.leader, vma.start, at, write=True))
    while moving.is_alive:
        m.env.step()
        check(m)
    check_at_rest(m)
    m.run(fault.touch(m, task, task.leader, vma.start, np.arange(8, 16, dtype=np.int64), write=True))
    m.zap(vma, np.arange(4, dtype=np.int64))
    check_at_rest(m)


def no_copy(original: Callable[..., Any]) -> Callable[..., Any]:
    def forget_and_spoil(m: Any, old: Any) -> None:
        original(m, old)
        m.frames.contents[m.swap.cache[m.swap.cache >= 0]] = 1
        m.frames.contents[old] = 0

    return forget_and_spoil


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
        "linux-6", MemMap, "drop_lru", lambda self, pfns: self.flags.__setitem__(pfns, self.flags[pfns] & ~np.uint32(PG.LRU)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", ["linux-6", "direct-v8"])
def test_the_sound_machine_passes(profile: str) -> None:
    life(profile)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, owner, attribute, replacement = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises((AssertionError, IndexError)):
        life(profile)
