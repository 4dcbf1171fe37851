"""The measured table of a real 4-node kernel (Linux 6.1), driven through the emulated machine's system call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.emulator.abi.kernel import EmulatedKernel
from backend.emulator.tasks.life import spawn
from backend.nodeset import NodeSet
from backend.plan.remap import landing, remap
from tests import DATA
from tests.emulator.invariants import check_at_rest
from tests.emulator.machines import machine, nodes_of, region

ROWS: list[dict[str, Any]] = json.loads((DATA / "migrate_pages_remap.json").read_text())


def row_name(row: dict[str, Any]) -> str:
    return f"{row['from']}-{row['to']}".replace(" ", "")


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_the_rule_predicts_where_pages_land(row: dict[str, Any]) -> None:
    moves = remap(NodeSet(row["from"]), NodeSet(row["to"]))
    assert [landing(moves, node) for node in range(4)] == row["lands_on"]


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_the_emulated_call_moves_pages_there(row: dict[str, Any]) -> None:
    m = machine("linux-6", pages=64)
    task = spawn(m, "t", cpu=0)
    vma = region(m, task, {0: 2, 1: 2, 2: 2, 3: 2})
    old, new = NodeSet(row["from"]), NodeSet(row["to"])
    assert EmulatedKernel(m).migrate_pages(task.pid, 65, old.mask(), new.mask()) == row["ret"]
    assert nodes_of(m, vma) == [node for node in row["lands_on"] for _ in range(2)]
    check_at_rest(m)


def test_under_direct_v8_every_source_moves() -> None:
    moves = remap(NodeSet([1, 2, 3]), NodeSet([0, 1]), "direct-v8")
    assert [(move.source, move.target) for move in moves] == [(1, 0), (2, 1), (3, 0)]


def test_a_target_is_emptied_before_it_is_filled() -> None:
    moves = remap(NodeSet([0, 1]), NodeSet([1, 2]))
    assert [(move.source, move.target) for move in moves] == [(1, 2), (0, 1)]
