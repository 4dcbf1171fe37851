"""Every measured row is driven through the emulated machine: result, errno and placement are the same.

A row that cannot be driven yet is named in NOT_HERE with its reason. What a driver returns must have every key of its
row, except those in NOT_COMPARED.
"""

from __future__ import annotations

import pytest

from tests.emulator import oracle_files, oracle_moves, oracle_policies
from tests.emulator.oracle_rig import DRIVERS, ROWS, TABLES, driver_of

DRIVER_MODULES = (oracle_files, oracle_moves, oracle_policies)
"""Their import registers the drivers."""

_CPUSETS, _HUGE, _THP = "waits for cpusets", "waits for hugetlb pages", "waits for transparent huge pages"
_VDSO = "an emulated process has no vDSO"
_BUFFER = "the measured mask was shorter than maxnode said: what lay behind it was refused"
NOT_HERE = {
    "vdso: query": _VDSO,
    "vdso: move": _VDSO,
    "vvar: move": _VDSO,
    "THP: move head only": _THP,
    "THP: move one tail page of 2nd": _THP,
    "THP: migrate_pages 1,2->3": _THP,
    "hugetlb: MOVE both to 1": _HUGE,
    "hugetlb: migrate_pages 1->2": _HUGE,
    "hugetlb: free per node": _HUGE,
    "migrate_pages 0->0 maxnode=32768": _BUFFER,
    "migrate_pages 0->0 maxnode=32769": _BUFFER,
    "cpuset A mems 0-1: start": _CPUSETS,
    "migrate_pages to node outside cpuset (root)": _CPUSETS,
    "A mems 0-1 -> 2-3": _CPUSETS,
    "A mems 2-3 -> 1-2": _CPUSETS,
    "move task A(1-2) -> B(2)": _CPUSETS,
    "B mems -> 0-3": _CPUSETS,
    "B mems -> 9": _CPUSETS,
    "memory.numa_stat of B": _CPUSETS,
    "self confined to mems 0-1": _CPUSETS,
    "move_pages 256 MiB 0->3 with less free there": "file pages that reclaim dropped made the room: how many there were is not known",
    "KSM merged 64 equal pages: MOVE": "equal pages are not merged here",
    "v1 memory_migrate=0: start in A(0-1)": _CPUSETS,
    "v1 memory_migrate=0: A mems -> 1-2": _CPUSETS,
    "v1 memory_migrate=0: attach to B(2-3)": _CPUSETS,
    "v1 memory_migrate=1: start in A(0-1)": _CPUSETS,
    "v1 memory_migrate=1: A mems -> 1-2": _CPUSETS,
    "v1 mems -> 9": _CPUSETS,
    "offline every memory block of node 3": "memory goes offline by node here, not by block: the node kept other blocks",
}
NOT_COMPARED = {
    "migrate 256 MiB 0->3 with less free there": {"free_kb_before", "free_kb_after"},
    "4 pages held by a pipe (vmsplice): MOVE": {"n"},
    "touched again (task on node {0, 1, 2, 3}, default policy)": {"cpu"},
}
"""Keys that say how the measured machine was prepared, not what the call did."""


def without_address(line: str) -> str:
    return line.partition(" ")[2]


@pytest.mark.parametrize("case", ROWS)
def test_every_row_is_driven_or_listed_with_its_reason(case: str) -> None:
    assert (driver_of(case) is not None) != (case in NOT_HERE)


def test_nothing_is_listed_that_is_no_row() -> None:
    assert len(ROWS) == sum(map(len, TABLES.values()))
    assert {*NOT_HERE, *NOT_COMPARED} <= set(ROWS)
    assert all(any(pattern.fullmatch(case) for case in ROWS) for pattern, _ in DRIVERS)


@pytest.mark.parametrize("case", [case for case in ROWS if case not in NOT_HERE])
def test_as_measured(case: str) -> None:
    row = ROWS[case]
    found = driver_of(case)
    assert found is not None
    driver, groups = found
    got = driver(row, *groups)
    expected = {key: value for key, value in row.items() if key not in NOT_COMPARED.get(case, ())}
    for key in ("line", "line0", "line_after"):
        if key in expected:
            expected[key] = without_address(expected[key])
    assert {"case": case, **got} == expected
