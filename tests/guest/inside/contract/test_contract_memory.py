"""Huge, locked, shared and swapped-out pages, and policies: the same on a real kernel and on the emulated machine."""

from __future__ import annotations

import errno

import pytest

from backend.kernel import Mode, ModeFlag, MoveFlag
from backend.process.process import read_process
from tests.guest.inside.contract.boxes import Box, lines, migrate_pages, move, query
from tests.guest.inside.rig import PAGE, region_pages

HUGE = 512
"""Base pages of a transparent huge page."""
POLICIES: dict[str, tuple[int, list[int], dict[int, int]]] = {
    "bind:1": (Mode.BIND, [1], {1: 12}),
    "bind=static:0,2": (Mode.BIND | ModeFlag.STATIC_NODES, [0, 2], {2: 12}),
    "interleave:0-2": (Mode.INTERLEAVE, [0, 1, 2], {0: 4, 1: 4, 2: 4}),
    "prefer:2": (Mode.PREFERRED, [2], {2: 12}),
    "prefer (many):0-1": (Mode.PREFERRED_MANY, [0, 1], {1: 12}),
    "local": (Mode.LOCAL, [], {3: 12}),
}
"""What numa_maps says → the mode, its nodes, and where a process on node 3 then gets twelve pages."""


class TestHugePages:
    def test_each_moves_whole_and_stays_huge(self, box: Box) -> None:
        one = box.victim({0: 2 * HUGE}, kind="thp")
        before = box.counter("thp_migration_success")
        done = box.numatui("migrate", one.pid, "--from", "0", "--to", "2", "--yes", "--json")
        assert done.code == 0, done
        assert done.json["outcomes"][0]["moved"] == 2 * HUGE * PAGE
        assert one.pages() == {2: 2 * HUGE}
        assert box.counter("thp_migration_success") == before + 2
        assert migrate_pages(box, one.pid, [2], [1]) == 0
        assert one.pages() == {1: 2 * HUGE}
        assert box.counter("thp_migration_success") == before + 4
        assert move(box, one.pid, [one.addresses()[HUGE + 7]], 3) == [3]
        assert one.pages() == {1: HUGE, 3: HUGE}
        assert box.counter("thp_migration_success") == before + 5
        one.verify()

    def test_one_in_two_mappings_moves_whole(self, box: Box) -> None:
        """Its mapping is cut, not the page."""
        one = box.victim({0: HUGE}, kind="thp")
        one.bind(Mode.BIND, [0], part=range(HUGE // 2))
        assert [line.policy for line in lines(box, one)] == ["bind:0", "default"]
        assert move(box, one.pid, [one.addresses()[3]], 2) == [2]
        assert one.pages() == {2: HUGE}
        assert migrate_pages(box, one.pid, [2], [1]) == 0
        assert one.pages() == {1: HUGE}
        one.verify()

    @pytest.mark.parametrize("part", [range(HUGE // 2), range(HUGE // 2, HUGE)])
    def test_mbind_of_a_half_moves_it_whole(self, box: Box, part: range) -> None:
        one = box.victim({0: HUGE}, kind="thp")
        one.bind(Mode.BIND, [3], MoveFlag.MOVE, part=part)
        assert one.pages() == {3: HUGE}
        one.verify()


def test_locked_pages_move(box: Box) -> None:
    one = box.victim({0: 8}, kind="locked")
    assert migrate_pages(box, one.pid, [0], [1]) == 0
    assert one.pages() == {1: 8}
    assert move(box, one.pid, list(one.addresses()), 2) == [2] * 8
    (line,) = lines(box, one)
    assert (line.pages, line.counts) == ({2: 8}, {"anon": 8, "dirty": 8})
    one.verify()


def test_pages_of_two_processes_move_for_both_with_all(box: Box) -> None:
    one = box.victim({0: 16}, more={"shared": {"kind": "shared", "on": {1: 8}}})
    child = one.fork()
    command = ("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json")
    stays = box.numatui(*command)
    assert stays.code == 0, stays
    assert stays.json["outcomes"][0]["left"] == {"shared": 24 * PAGE}
    assert [line.counts["mapmax"] for name in ("memory", "shared") for line in lines(box, one, name)] == [
        2,
        2,
    ]
    moves = box.numatui(*command, "--all")
    assert moves.code == 0, moves
    assert moves.json["outcomes"][0]["moved"] == 24 * PAGE
    for pid in (one.pid, child):
        assert region_pages(box.kernel, pid, one.addresses()) == {2: 16}
        assert region_pages(box.kernel, pid, one.addresses("shared")) == {3: 8}
    one.touch()
    assert one.pages() == {3: 16}, "a copy for the one that writes"
    assert region_pages(box.kernel, child, one.addresses()) == {2: 16}
    assert region_pages(box.kernel, child, one.addresses("shared")) == {3: 8}
    one.verify()


class TestPolicies:
    def test_new_pages_lie_where_mbind_says(self, box: Box) -> None:
        one = box.victim({}, untouched=1, more={text: {"on": {}, "untouched": 12} for text in POLICIES})
        for text, (mode, nodes, _) in POLICIES.items():
            one.bind(mode, nodes, region=text)
        one.touch()
        for text, (_, _, lands) in POLICIES.items():
            assert one.pages(text) == lands, text
            assert [line.policy for line in lines(box, one, text)] == [text]
        one.verify()

    def test_new_pages_lie_where_set_mempolicy_says(self, box: Box) -> None:
        one = box.victim({}, untouched=12)
        one.set_policy(Mode.BIND, [1])
        one.touch()
        (line,) = lines(box, one)
        assert (line.policy, line.pages) == ("bind:1", {1: 12})
        assert migrate_pages(box, one.pid, [1], [2]) == 0
        (line,) = lines(box, one)
        assert (line.policy, line.pages) == ("bind:1", {2: 12}), "migration changes no policy"

    def test_mbind_moves_what_lies_elsewhere(self, box: Box) -> None:
        one = box.victim({0: 12})
        one.bind(Mode.INTERLEAVE, [1, 2, 3], MoveFlag.MOVE)
        assert one.pages() == {1: 4, 2: 4, 3: 4}
        one.bind(Mode.BIND, [2], MoveFlag.MOVE, part=range(6))
        assert [(line.policy, line.pages) for line in lines(box, one)] == [
            ("bind:2", {2: 6}),
            ("interleave:1-3", {1: 2, 2: 2, 3: 2}),
        ]
        one.bind(Mode.DEFAULT, [])
        (line,) = lines(box, one)
        assert (line.policy, line.pages) == ("default", {1: 2, 2: 8, 3: 2})
        one.fork()
        one.bind(Mode.BIND, [0], MoveFlag.MOVE | MoveFlag.STRICT)
        assert one.pages() == {1: 2, 2: 8, 3: 2}, "pages that others map too stay, and nobody complains"
        one.verify()


def test_pages_in_swap_come_back_where_they_are_touched(box: Box) -> None:
    with box.swap():
        one = box.victim({0: 64, 1: 32})
        one.page_out()
        nowhere = [-errno.ENOENT] * 96
        assert query(box, one.pid, list(one.addresses())) == nowhere
        assert read_process(box.kernel, one.pid).swap == 96 * PAGE
        assert migrate_pages(box, one.pid, [0, 1], [2, 3]) == 0
        assert move(box, one.pid, list(one.addresses()), 2) == nowhere
        done = box.numatui("migrate", one.pid, "--from", "0-1", "--to", "2-3", "--yes", "--json")
        assert done.code == 0, done
        assert done.json["outcomes"] == [], "there is nothing to do"
        assert "swap" in {warning["code"] for warning in done.json["plan"]["warnings"]}
        assert one.pages() == {}
        assert query(box, one.pid, list(one.addresses())) == nowhere
        one.run_on(2)
        one.verify()
        assert one.pages() == {2: 96}
        one.page_out()
        assert one.pages() == {}
        one.bind(Mode.BIND, [1])
        one.verify()
        assert one.pages() == {1: 96}, "the policy of that moment"
        one.end()
