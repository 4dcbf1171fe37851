"""What becomes of a page does not depend on how many go through the steps together."""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.abi.mbind import mbind
from backend.emulator.machine import Machine, Patches
from backend.emulator.migration.direct import MigrationLists, migrate_pages, put_all_back
from backend.emulator.migration.isolate import isolate
from backend.emulator.mm.fault import access
from backend.emulator.mm.mm import Vma
from backend.emulator.mm.zap import zap
from backend.emulator.tasks.credentials import Caller
from backend.emulator.tasks.life import spawn
from backend.emulator.tasks.task import Task
from backend.kernel import Mode, MoveFlag
from backend.nodeset import NodeSet
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

PAGE = 4096
BATCHES = (1, 2, 17, 512, 4096)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("slots", "stay"), [(0, 40), (1, 0), (3, 0), (64, 0)])
def test_one_free_slot_suffices_for_any_number_of_pages(batch: int, slots: int, stay: int) -> None:
    m = machine("direct-v8", swap_pages=slots, batch=batch)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 40})
    assert EmulatedKernel(m).migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask()) == stay
    assert nodes_of(m, vma) == ([0] * 40 if stay else [3] * 40)
    assert m.swap.used == 0
    check_at_rest(m)


@pytest.mark.parametrize("batch", BATCHES)
def test_without_the_patch_that_frees_slots_as_many_pages_move_as_there_are(batch: int) -> None:
    m = machine("direct-v8", swap_pages=5, batch=batch, patches=Patches(remove_from_swap=False))
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 8})
    assert EmulatedKernel(m).migrate_pages(task.pid, 65, NodeSet([0]).mask(), NodeSet([3]).mask()) == 3
    assert nodes_of(m, vma) == [-1] * 5 + [0] * 3
    for index in range(8):
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False))
    assert nodes_of(m, vma) == [3] * 5 + [0] * 3


def isolated(batch: int, count: int) -> tuple[Machine, Task, Vma, MigrationLists]:
    """So many isolated pages of node 0, and one target each on nodes 1, 2 and 3."""
    m = machine("direct-v8", batch=batch)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: count})
    m.run(m.pagevecs.lru_add_drain_all())
    pages = isolate(m, vma.pfns(np.arange(count)), None, move_all=False)
    targets = np.concatenate([m.frames.alloc(1, node, here=node) for node in (1, 2, 3)])
    return m, task, vma, MigrationLists(pages, targets)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_page_that_was_freed_meanwhile_consumes_no_target(batch: int) -> None:
    m, _, vma, lists = isolated(batch, 6)
    pages = lists.source.copy()
    zap(m, vma, np.array([0, 2], np.int64))
    assert m.run(migrate_pages(m, lists)) == 0
    assert nodes_of(m, vma) == [-1, 1, -1, 2, 3, 0]
    assert list(lists.source) == [pages[5]], "no target was left for it"
    assert not len(lists.target)
    assert sum(map(len, lists.moved)) == 5
    put_all_back(m, lists)
    check_at_rest(m)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_page_that_somebody_holds_leaves_its_target_to_the_next(batch: int) -> None:
    m, task, vma, lists = isolated(batch, 4)
    pages = lists.source.copy()
    m.locks.get_page(int(pages[1]))
    assert m.run(migrate_pages(m, lists)) == 0
    assert [int(m.frames.nid[pfn]) for one in lists.moved for pfn in one] == [0, 0, 0]
    for index in range(4):
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False))
    assert nodes_of(m, vma) == [1, 0, 2, 3]
    m.locks.put_page(int(pages[1]))
    put_all_back(m, lists)
    check_at_rest(m)


@pytest.mark.parametrize(
    ("profile", "patches"), [("swap-2.6.15", Patches()), ("direct-v8", Patches(direct_migrate=False))]
)
def test_mbind_evicts_where_pages_cannot_migrate(profile: str, patches: Patches) -> None:
    m = machine(profile, patches=patches)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 6, 2: 2})
    caller = Caller(0, True, task.pid)
    path = mbind(m, caller, vma.start, 8 * PAGE, Mode.BIND, 65, NodeSet([2]).mask(), MoveFlag.MOVE | MoveFlag.STRICT)
    assert m.run(path) == 0
    assert nodes_of(m, vma) == [-1] * 6 + [2] * 2
    assert m.counters["pswpout"] == 6
    for index in range(8):
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=False))
    assert nodes_of(m, vma) == [2] * 8, "the policy brings them to its node"
    check_at_rest(m)
