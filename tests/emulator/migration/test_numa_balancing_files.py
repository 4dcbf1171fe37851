"""NUMA balancing of pages that belong to files: which of them are marked, and which follow."""

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.frames.page import PG
from backend.emulator.mm.mm import PTE_PROTNONE, VM, Vma
from tests.emulator.files import file, mapped, shared_memory
from tests.emulator.invariants import check_at_rest
from tests.emulator.rig import Me


class Balanced(Me):
    """A task on node 3 of a machine with NUMA balancing on."""

    def __init__(self) -> None:
        super().__init__(cpu=6)
        self.m.balancing.mode = 1
        self.m.run(self.m.balancing.tick(self.task, self.task.leader))

    def scan(self, vma: Vma) -> int:
        self.m.advance(61.0)
        self.m.run(self.m.balancing.tick(self.task, self.task.leader))
        return int(np.count_nonzero(vma.pte & PTE_PROTNONE))


def test_clean_pages_of_a_shared_file_mapping_follow_with_their_contents() -> None:
    me = Balanced()
    space = file(me.m, "ext3", pages=8, on={0: 8})
    vma = mapped(me.m, me.task, space)
    me.touch(vma, write=False)
    assert me.scan(vma) == 8
    assert me.touch(vma, write=False) == [3] * 8
    assert (me.m.frames.contents[space.pages] == space.expected).all()
    check_at_rest(me.m)


def test_dirty_ones_are_not_marked_and_one_that_became_dirty_stays() -> None:
    me = Balanced()
    space = file(me.m, "ext3", pages=8, on={0: 8})
    vma = mapped(me.m, me.task, space)
    me.touch(vma, write=False)
    me.m.rmap.set_dirty(me.m.frames, space.pages[:2])
    assert me.scan(vma) == 6
    me.m.frames.flags[space.pages[2]] |= PG.WRITEBACK
    me.m.rmap.set_dirty(me.m.frames, space.pages[3:4])
    assert me.touch(vma, write=False) == [0] * 4 + [3] * 4


@pytest.mark.parametrize("kind", ["read only", "private", "shared memory"])
def test_libraries_private_copies_to_be_and_shared_memory_are_left_alone(kind: str) -> None:
    me = Balanced()
    space = shared_memory(me.m, 8) if kind == "shared memory" else file(me.m, "ext3", pages=8, on={0: 8})
    vma = mapped(me.m, me.task, space, shared=kind != "private")
    if kind == "shared memory":
        me.task.leader.cpu = 0
    me.touch(vma, write=kind == "shared memory")
    me.task.leader.cpu = 6
    if kind == "read only":
        vma.flags &= ~VM.WRITE
    assert me.scan(vma) == 0
