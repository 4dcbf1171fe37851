"""Equal pages are merged into one, which many mappings share: seen, copied when written, moved with all its places."""

from __future__ import annotations

import numpy as np
import pytest

from backend.emulator.machine import Machine
from backend.emulator.mm.fault import access
from backend.emulator.mm.fork import fork
from backend.emulator.mm.ksm import merge
from backend.emulator.mm.mm import Vma
from backend.emulator.mm.zap import zap
from backend.emulator.tasks.life import do_exit, spawn
from backend.emulator.tasks.task import Task
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region, write_equal
from tests.emulator.rig import Me

PAGE = 4096
ALL = np.arange(16, dtype=np.int64)


def merged() -> tuple[Machine, Task, Vma]:
    m = machine("linux-6")
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 16})
    write_equal(m, vma, ALL, 7)
    free = m.frames.zones[0].free
    assert m.run(merge(m, task, vma.start, ALL)) == 15
    assert m.frames.zones[0].free == free + 15
    check_at_rest(m)
    return m, task, vma


def test_equal_pages_become_one_frame() -> None:
    m, task, vma = merged()
    assert len(set(vma.pfns(ALL).tolist())) == 1
    assert (vma.nr_mapped, m.frames.mapcount[vma.pfns(ALL)[0]]) == (16, 16)
    me = Me(m=m, task=task)
    assert me.line(vma).endswith("anon=16 dirty=16 mapmax=16 active=0 N0=16 kernelpagesize_kB=4")
    assert me.move(me.addresses(vma), 1)[1] == ["-EACCES"] * 16


def test_with_move_all_it_moves_and_all_places_follow() -> None:
    m, task, vma = merged()
    me = Me(m=m, task=task)
    result, status = me.move(me.addresses(vma), 1, flags=4)
    assert (result, status[0]) == (0, 1)
    assert nodes_of(m, vma) == [1] * 16
    check_at_rest(m)


def test_a_write_gets_a_copy_of_its_own_and_the_others_keep_what_they_had() -> None:
    m, task, vma = merged()
    m.run(access(m, task, task.leader, vma.start + 3 * PAGE, write=True))
    assert m.run(access(m, task, task.leader, vma.start + 4 * PAGE, write=False)) == 7
    assert m.frames.mapcount[vma.pfns(ALL)[0]] == 15
    check_at_rest(m)
    for index in range(16):
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=True))
    check_at_rest(m)
    assert len(set(vma.pfns(ALL).tolist())) == 16


def test_a_child_shares_it_and_both_may_go() -> None:
    m, task, vma = merged()
    child = m.run(fork(m, task))
    assert m.frames.mapcount[vma.pfns(ALL)[0]] == 32
    check_at_rest(m)
    me = Me(m=m, task=task)
    me.move(me.addresses(vma), 2, flags=4)
    check_at_rest(m)
    zap(m, vma, ALL[:9])
    check_at_rest(m)
    do_exit(m, task)
    check_at_rest(m)
    do_exit(m, child)
    check_at_rest(m)
    assert all(zone.free == zone.pages for zone in m.frames.zones.values())


def test_what_two_processes_have_in_common_is_one_frame_and_kernels_before_do_not_merge() -> None:
    m, _, vma = merged()
    other = spawn(m, "other", cpu=2)
    theirs = region(m, other, {1: 4})
    write_equal(m, theirs, ALL[:4], 7)
    assert m.run(merge(m, other, theirs.start, ALL[:4])) == 4
    assert m.frames.mapcount[vma.pfns(ALL)[0]] == 20
    check_at_rest(m)
    old = machine("direct-v8")
    task = spawn(old, "t", cpu=0)
    with pytest.raises(OSError, match="Invalid"):
        old.run(merge(old, task, region(old, task, {0: 4}).start, ALL[:4]))


def test_the_last_who_has_a_merged_page_gets_a_copy_too_for_the_page_stands_for_its_contents() -> None:
    m, task, vma = merged()
    for index in range(16):
        m.run(access(m, task, task.leader, vma.start + index * PAGE, write=True))
    theirs = region(m, task, {1: 4})
    write_equal(m, theirs, ALL[:4], 7)
    m.run(merge(m, task, theirs.start, ALL[:4]))
    assert {m.run(access(m, task, task.leader, theirs.start + at * PAGE, write=False)) for at in range(4)} == {7}
    check_at_rest(m)
