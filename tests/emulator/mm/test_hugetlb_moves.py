"""move_pages(2) of hugetlb pages by the addresses in them, as measured on 6.1."""

from __future__ import annotations

import pytest

from backend.emulator.mm.huge_pages import fill_pool
from backend.emulator.mm.mm import VM
from backend.emulator.mm.mmap import mmap
from tests.emulator.rig import PAGE, Me

HUGE = 512


@pytest.fixture
def me() -> Me:
    """A task with two hugetlb pages, which are on node 1."""
    me = Me(pages=4 * HUGE)
    for node in (0, 1, 2):
        fill_pool(me.m, node, 2)
    mmap(me.m, me.task, 2 * HUGE, flags=VM.WRITE | VM.HUGETLB)
    return me


def test_untouched_pages_are_absent_not_wrong(me: Me) -> None:
    start = me.vma.start
    assert me.move([start, start + PAGE, start + HUGE * PAGE], None) == [0, ["-ENOENT"] * 3]


def test_only_the_head_can_be_named(me: Me) -> None:
    start = me.vma.start
    assert me.mbind(me.vma, 2, [1]) == 0
    me.touch(me.vma)
    six = [start + page * PAGE for page in range(6)]
    assert me.move(six, 0) == [0, [0, "-EACCES", 0, 0, 0, 0]]
    assert me.move(six, None) == [0, [0] * 6]
    assert me.move(six[1:4], 2) == [0, ["-EACCES"] * 3]
    assert me.move(six[:1], None) == [0, [0]]
    assert me.move([six[1], six[0], six[2]], 2) == [0, ["-EACCES", 2, "-EACCES"]]
    second = start + HUGE * PAGE
    assert me.move([six[1], second, second + PAGE, six[2]], 0, flags=4) == [0, ["-EACCES", 0, "-EACCES", "-EACCES"]]
    assert me.move([start, second], None) == [0, [2, 0]]
