"""Every measured row is driven through the emulated machine: result, errno and placement are the same.

A row that cannot be driven yet is named in NOT_HERE with its reason. What a driver returns must have every key of its
row, except those in NOT_COMPARED.
"""

from __future__ import annotations

import json

import pytest

from tests import DATA
from tests.emulator.oracle import oracle_files, oracle_moves, oracle_policies
from tests.emulator.oracle.oracle_rig import DRIVERS, ROWS, TABLES, driver_of

DRIVER_MODULES = (oracle_files, oracle_moves, oracle_policies)
"""Their import registers the drivers."""

_VDSO = "an emulated process has no vDSO"
_BUFFER = "the measured mask was shorter than maxnode said: what lay behind it was refused"
NOT_HERE = {
    "vdso: query": _VDSO,
    "vdso: move": _VDSO,
    "vvar: move": _VDSO,
    "migrate_pages 0->0 maxnode=32768": _BUFFER,
    "migrate_pages 0->0 maxnode=32769": _BUFFER,
    "move_pages 256 MiB 0->3 with less free there": "file pages that reclaim dropped made the room: how many there "
    "were is not known",
    "offline every memory block of node 3": "how many blocks the measured node kept, and what was in them, is not "
    "known",
}
_CPUSET_ROWS = json.loads((DATA / "cpusets.json").read_text())
ELSEWHERE = {row["case"] for row in _CPUSET_ROWS}
"""Rows that tests/emulator/tasks/test_cpusets.py and test_permissions.py drive."""
NOT_COMPARED = {
    "THP: migrate_pages 1,2->3": {"d"},
    "migrate 256 MiB 0->3 with less free there": {"free_kb_before", "free_kb_after"},
    "4 pages held by a pipe (vmsplice): MOVE": {"n"},
    "touched again (task on node {0, 1, 2, 3}, default policy)": {"cpu"},
}
"""Keys that say how the measured machine was prepared, not what the call did; or that counted all other pages of the
measured process, too."""


def without_address(line: str | list[str]) -> str | list[str]:
    return line.partition(" ")[2] if isinstance(line, str) else [one.partition(" ")[2] for one in line]


@pytest.mark.parametrize("case", ROWS)
def test_every_row_is_driven_or_listed_with_its_reason(case: str) -> None:
    driven = driver_of(case) is not None or case in ELSEWHERE
    assert driven != (case in NOT_HERE)


def test_nothing_is_listed_that_is_no_row() -> None:
    assert len(ROWS) == sum(map(len, TABLES.values()))
    assert {*NOT_HERE, *NOT_COMPARED} <= set(ROWS)
    assert all(any(pattern.fullmatch(case) for case in ROWS) for pattern, _ in DRIVERS)


@pytest.mark.parametrize("case", [case for case in ROWS if driver_of(case) is not None])
def test_as_measured(case: str) -> None:
    row = ROWS[case]
    found = driver_of(case)
    assert found is not None
    driver, groups = found
    got = driver(row, *groups)
    left_out = NOT_COMPARED.get(case, ())
    expected = {key: value for key, value in row.items() if key not in left_out}
    for key in ("line", "line0", "line_after"):
        if key in expected:
            expected[key] = without_address(expected[key])
    assert {"case": case, **{key: value for key, value in got.items() if key not in left_out}} == expected
