"""Trees, groups, what is hidden, what is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from backend.placement.survey import ProcessRow
from backend.process.process import Identity
from numatui.process_tree import as_tree
from numatui.tui.model.filtering import Filter
from numatui.tui.model.groups import GroupRow, as_groups, overall_local
from numatui.tui.model.listing import SMALL, Listing
from tests.tui.model.test_filtering import ROWS, TOPOLOGY


@dataclass(frozen=True)
class One:
    key: int
    parent: int


forests = st.lists(st.builds(One, st.integers(1, 15), st.integers(0, 15)), max_size=15, unique_by=lambda one: one.key)


@given(forests)
def test_a_tree_has_every_row_once_also_where_parents_run_in_a_circle(ones: list[One]) -> None:
    branches = as_tree(ones, lambda one: one.key, lambda one: one.parent)
    assert sorted(branch.row.key for branch in branches) == sorted(one.key for one in ones)
    depth = {branch.row.key: branch.depth for branch in branches}
    for branch in branches:
        assert branch.depth == 0 or depth[branch.row.parent] == branch.depth - 1


@given(forests, st.sets(st.integers(1, 15)))
def test_what_hangs_below_a_folded_row_is_left_out_and_nothing_else(ones: list[One], folded: set[int]) -> None:
    whole = as_tree(ones, lambda one: one.key, lambda one: one.parent)
    shown = as_tree(ones, lambda one: one.key, lambda one: one.parent, lambda one: one.key in folded)
    out: list[int] = []
    below: int | None = None
    for branch in whole:
        if below is not None and branch.depth > below:
            continue
        below = branch.depth if branch.row.key in folded else None
        out.append(branch.row.key)
    assert [branch.row.key for branch in shown] == out


def pid(number: int, parent: int, resident: int = 0) -> ProcessRow:
    row = ROWS[0]
    process = replace(row.process, identity=Identity(number, 1), ppid=parent, rss=resident, command=f"c{number}")
    return replace(row, process=process, by_node={0: resident})


def test_a_filtered_tree_shows_from_whom_a_process_descends() -> None:
    listing = Listing(tree=True, filter=Filter.parse("pid:4", TOPOLOGY))
    listing.read([pid(1, 0), pid(2, 1), pid(3, 1), pid(4, 2)])
    assert [row.process.pid for row in listing.view(None)] == [1, 2, 4]
    assert listing.fitting == 1


def test_siblings_are_sorted_and_stay_below_their_parent() -> None:
    listing = Listing(tree=True)
    listing.read([pid(1, 0, 5), pid(2, 1, 1), pid(3, 1, 9), pid(4, 2, 20), pid(5, 0, 7)])
    assert [row.process.pid for row in listing.view(lambda row: row.resident)] == [5, 1, 3, 2, 4]


def test_closing_a_row_hides_what_is_below_and_opening_brings_it_back() -> None:
    listing = Listing(tree=True)
    listing.read([pid(1, 0), pid(2, 1), pid(3, 2)])
    first, *_ = listing.view(None)
    assert not listing.fold(first, False)
    assert listing.fold(first, True)
    assert [row.process.pid for row in listing.view(None)] == [1]
    assert listing.fold(first, False)
    assert len(listing.view(None)) == 3


def test_small_processes_are_hidden_but_not_the_one_that_is_followed() -> None:
    listing = Listing(hide_small=True)
    listing.read([pid(1, 0, SMALL), pid(2, 0, SMALL - 1), pid(3, 0, 0)])
    assert [row.process.pid for row in listing.view(None)] == [1]
    assert listing.small == 2
    listing.followed = Identity(3, 1)
    assert [row.process.pid for row in listing.view(None)] == [1, 3]


def test_groups_sum_up_their_members() -> None:
    numbers: dict[str, int] = {}
    groups = as_groups(ROWS, "user", numbers)
    assert sorted(row.process.pid for group in groups for row in group.members) == sorted(
        row.process.pid for row in ROWS
    )
    for group in groups:
        assert len({row.process.user for row in group.members}) == 1
        assert group.resident == sum(row.resident for row in group.members)
        assert sum((group.by_node or {}).values()) == sum(sum((row.by_node or {}).values()) for row in group.members)
        assert group.local == overall_local(group.members)
        assert abs(sum(group.runs_on.values()) - 1) < 1e-9
    assert [one.process.identity for one in as_groups(ROWS[::-1], "user", numbers)[::-1]] != []
    assert {one.process.identity for one in as_groups(ROWS[::-1], "user", numbers)} == {
        one.process.identity for one in groups
    }


def test_a_group_opens_is_tagged_and_chosen_as_its_members() -> None:
    listing = Listing(grouping="user")
    listing.read(ROWS)
    rows = listing.view(lambda row: row.resident)
    assert all(isinstance(row, GroupRow) for row in rows)
    group = rows[1]
    assert isinstance(group, GroupRow)
    assert listing.chosen(group) == list(group.members)
    assert listing.fold(group, False)
    opened = listing.view(lambda row: row.resident)
    assert len(opened) == len(rows) + len(group.members)
    assert opened[2] in group.members
    listing.toggle(group)
    assert listing.tagged == {row.process.identity for row in group.members}
    listing.toggle(group.members[0])
    listing.toggle(group)
    assert len(listing.tagged) == len(group.members)
    listing.toggle(group)
    assert not listing.tagged
