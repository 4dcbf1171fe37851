"""What a plan says of itself: the call, whether it falls back, how long it holds a process up, what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.emulator.mm.fork import fork
from backend.errors import NotSupported
from backend.machine.kernel_versions import hides_marked_pages, holds_lock
from backend.machine.topology import read_topology
from backend.nodeset import NodeSet
from backend.placement.numa_maps import read_placement
from backend.plan.conditions import Conditions
from backend.plan.plan import Plan, Subject
from backend.plan.planner import make_plan, merged
from backend.process.process import read_process
from tests.backend.job.moving import PAGE, Mover


def planned(one: Mover, conditions: Conditions | None = None, **how: Any) -> Plan:
    process = read_process(one.kernel, one.pid)
    subject = Subject(process, read_placement(one.kernel, one.pid))
    return make_plan(
        [subject], NodeSet([0]), NodeSet([1]), read_topology(one.kernel), conditions=conditions or Conditions(), **how
    )


@pytest.mark.parametrize(
    ("release", "held"),
    [("6.1.0-13-amd64", True), ("6.6.9", True), ("6.7.0", False), ("6.12", False), ("7.2-rc1", False), ("x", True)],
)
def test_since_6_7_migrate_pages_does_not_hold_the_map_while_it_moves(release: str, held: bool) -> None:
    assert holds_lock(release) is held


@pytest.mark.parametrize(
    ("release", "hidden"),
    [("6.1.0-13-amd64", True), ("6.11.9", True), ("6.12.0", False), ("7.2.2-amd64", False), ("", True)],
)
def test_since_6_12_balancing_hides_nothing_from_move_pages(release: str, hidden: bool) -> None:
    assert hides_marked_pages(release) is hidden


def test_what_balancing_marks_neither_stays_nor_needs_another_call_where_nothing_is_hidden(tmp_path: Path) -> None:
    made = planned(Mover(tmp_path, [0] * 9), Conditions(balancing=True))
    assert (made.fallback, made.stays) == ("", {})
    texts = {warning.code: warning.text for warning in made.warnings}
    assert texts["balancing"] == "NUMA balancing is on: it may move pages back"


@pytest.mark.parametrize(("slow", "hidden"), [({0}, True), ({1}, False)])
def test_memory_tiering_hides_pages_of_slow_nodes_only(tmp_path: Path, slow: set[int], hidden: bool) -> None:
    conditions = Conditions(balancing=True, tiering=True, hides=True, slow=frozenset(slow))
    made = planned(Mover(tmp_path, [0] * 9), conditions, method="move_pages")
    assert ("hidden" in made.stays) is hidden
    assert ("balancing" in {warning.code for warning in made.warnings}) is hidden


def test_the_stall_of_migrate_pages_follows_the_kernel(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 300)
    old = planned(one, Conditions(holds_lock=True, stall=0.001), method="migrate_pages")
    new = planned(one, Conditions(holds_lock=False, stall=0.001), method="migrate_pages")
    assert old.stall == old.whole_call == 300 * PAGE / old.rate
    assert new.stall == 0.001
    assert "stall" in {warning.code for warning in old.warnings}
    assert "stall" not in {warning.code for warning in new.warnings}


def test_the_estimate_obeys_the_limit(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 300)
    assert planned(one, max_rate=300 * PAGE // 10).seconds == pytest.approx(10, rel=0.01)
    assert planned(one, max_rate=1 << 50).seconds == planned(one).seconds


@pytest.mark.parametrize(
    ("conditions", "how", "falls_back"),
    [
        (Conditions(), {}, ""),
        (Conditions(balancing=True, hides=True), {}, "balancing"),
        (Conditions(balancing=True, hides=True, privileged=True), {}, ""),
        (Conditions(balancing=True, hides=True, privileged=True), {"move_all": True}, "balancing"),
        (Conditions(balancing=True, hides=True), {"method": "move_pages"}, ""),
        (Conditions(balancing=True, hides=True), {"within": (0, 1 << 47)}, ""),
        (Conditions(balancing=True, hides=True, can=frozenset({"move_pages"})), {}, ""),
    ],
)
def test_when_migrate_pages_moves_the_rest(
    tmp_path: Path, conditions: Conditions, how: dict[str, Any], falls_back: str
) -> None:
    made = planned(Mover(tmp_path, [0] * 9), conditions, **how)
    assert made.fallback == falls_back
    assert ("fallback" in {warning.code for warning in made.warnings}) == bool(falls_back)
    assert ("hidden" in made.stays) == (conditions.balancing and not falls_back)


def test_without_move_pages_auto_is_migrate_pages_but_not_for_one_mapping(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 9)
    only = Conditions(can=frozenset({"migrate_pages"}))
    assert planned(one, only).calls == "migrate_pages"
    with pytest.raises(NotSupported, match="a part of one"):
        planned(one, method="migrate_pages", within=(0, 1 << 47))


def test_what_others_map_stays_unless_it_is_asked_for(tmp_path: Path) -> None:
    one = Mover(tmp_path, [0] * 9)
    one.machine.run(fork(one.machine, one.task))
    assert planned(one).stays == {"shared": 9 * PAGE}
    assert planned(one, move_all=True).stays == {}
    assert planned(one, Conditions(privileged=True), method="migrate_pages").stays == {}


def test_plans_of_several_processes_become_one(tmp_path: Path) -> None:
    first, second = Mover(tmp_path / "a", [0] * 9), Mover(tmp_path / "b", [0] * 5)
    topology = read_topology(first.kernel)
    one, other = planned(first), replace(planned(second), stays={"shared": PAGE})
    both = merged([one, other], topology, PAGE)
    assert both.bytes == one.bytes + other.bytes
    assert [part.steps for part in both.processes] == [part.steps for part in (*one.processes, *other.processes)]
    assert both.stays == {"shared": PAGE}
    assert both.room[0].incoming == 14 * PAGE


def test_plans_that_have_room_alone_may_have_none_together(tmp_path: Path) -> None:
    first, second = Mover(tmp_path / "a", [0] * 9), Mover(tmp_path / "b", [0] * 5)
    whole = read_topology(first.kernel)
    room = planned(first).room[0]
    topology = replace(
        whole,
        nodes=tuple(
            replace(node, memory={**node.memory, "MemFree": room.reserve + 10 * PAGE}) if node.id == room.node else node
            for node in whole.nodes
        ),
    )
    assert topology.node(room.node).free == room.reserve + 10 * PAGE
    both = merged([planned(first), planned(second)], topology, PAGE)
    assert "room" not in {warning.code for one in (planned(first), planned(second)) for warning in one.warnings}
    assert [warning.code for warning in both.warnings].count("room") == 1
    assert both.stays["no-room"] == 4 * PAGE
